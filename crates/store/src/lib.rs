//! Durable state. The only crate that knows SQL.
//!
//! Today that is the journal of transactions in one SQLite file, with one writer that commits in groups.

mod sqlite;

pub use sqlite::{
    GROUP_LEN_MAX, OpenError, QUEUE_LEN_MAX, READERS_MAX, SQLITE_VERSION_MIN, SqliteJournal, StoreOptions,
};
