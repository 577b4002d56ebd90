//! Durable state: SQLite behind the journal
