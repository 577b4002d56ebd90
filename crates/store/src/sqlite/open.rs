//! Opening the file: which SQLite, which settings, which schema.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension};

/// SQLite 3.7.0 to 3.51.2 can corrupt a database when a checkpoint meets a WAL reset.
pub const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// The schema that this code writes. Every change adds a step to [`MIGRATIONS`].
const SCHEMA: i64 = MIGRATIONS.len() as i64;

/// Step n leads from schema n to schema n + 1, in one transaction with the version.
///
/// `status` and times are integers, ids and states text, payloads blobs, and no function of one database only: the same
/// statements are to run on PostgreSQL. The input comes last, as it is never looked at by a query.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE definitions (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE);
    CREATE TABLE transactions (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        key TEXT NOT NULL,
        dedup INTEGER NOT NULL,
        definition INTEGER NOT NULL REFERENCES definitions (id),
        status INTEGER NOT NULL,
        version INTEGER NOT NULL,
        started_ms BIGINT NOT NULL,
        updated_ms BIGINT NOT NULL,
        state TEXT NOT NULL,
        history TEXT NOT NULL,
        input BLOB NOT NULL
    );
    CREATE UNIQUE INDEX transactions_by_key ON transactions (name, key) WHERE dedup = 1;
    CREATE INDEX transactions_by_status ON transactions (status, seq);
"];

/// Pages of 4 KiB in the WAL before it is copied back: fewer copies, at the price of 16 MiB.
const CHECKPOINT_PAGES: i64 = 4096;
/// Statements that a connection keeps compiled; above the number there are.
const STATEMENTS_KEPT_MAX: usize = 32;
/// How long another process (a backup, a person with a shell) may hold the file up.
const BUSY_MS_MAX: i64 = 5_000;

/// Why the file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file or its folder cannot be used.
    #[error("{path}: {why}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// SQLite says no.
    #[error("{path}: {why}", path = path.display())]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// What it said.
        why: rusqlite::Error,
    },
    /// A later Mainstay has written it.
    #[error(
        "{path}: written by a later version (schema {found}, this one knows up to {known}); use that version, or restore a backup",
        path = path.display()
    )]
    NewerSchema {
        /// Which file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The latest schema known here.
        known: i64,
    },
    /// The linked SQLite has a bug that corrupts databases.
    #[error("SQLite {found} is linked, but before {min} a database can be corrupted by a WAL reset", min = SQLITE_VERSION_MIN)]
    OldSqlite {
        /// Its version number.
        found: i32,
    },
    /// The file system does not let SQLite use its write-ahead log.
    #[error("{path}: the write-ahead log cannot be used here (journal_mode is {mode}); use a local file system", path = path.display())]
    NoWal {
        /// Which file.
        path: PathBuf,
        /// What SQLite uses instead.
        mode: String,
    },
}

/// The connection that writes, on a file that is there, durable itself, and of the right schema.
pub(super) fn writer(path: &Path, sync: bool) -> Result<Connection, OpenError> {
    let found = rusqlite::version_number();
    if found < SQLITE_VERSION_MIN {
        return Err(OpenError::OldSqlite { found });
    }
    let sqlite = |why| OpenError::Sqlite { path: path.into(), why };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    let set = |name, value: i64| connection.pragma_update(None, name, value).map_err(sqlite);
    set("busy_timeout", BUSY_MS_MAX)?;
    // Before the file is turned into WAL mode, so that this first write is flushed as well. 2 is FULL, 0 is OFF.
    set("synchronous", if sync { 2 } else { 0 })?;
    set("wal_autocheckpoint", CHECKPOINT_PAGES)?;
    set("foreign_keys", 0)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |r| r.get(0)).map_err(sqlite)?;
    if mode != "wal" {
        return Err(OpenError::NoWal { path: path.into(), mode });
    }
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT_MAX);
    migrate(&mut connection, path)?;
    if sync {
        // A file whose name is not durable is not durable.
        flush_folder(path).map_err(|why| OpenError::Io { path: path.into(), why })?;
    }
    Ok(connection)
}

/// A connection that cannot write.
pub(super) fn reader(path: &Path) -> Result<Connection, OpenError> {
    let sqlite = |why| OpenError::Sqlite { path: path.into(), why };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    connection.pragma_update(None, "busy_timeout", BUSY_MS_MAX).map_err(sqlite)?;
    connection.pragma_update(None, "query_only", 1).map_err(sqlite)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT_MAX);
    Ok(connection)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let sqlite = |why| OpenError::Sqlite { path: path.into(), why };
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(sqlite)?;
    transaction.execute_batch("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)").map_err(sqlite)?;
    let found: Option<i64> =
        transaction.query_row("SELECT version FROM schema_version", [], |r| r.get(0)).optional().map_err(sqlite)?;
    let from = found.unwrap_or(0);
    if from > SCHEMA {
        return Err(OpenError::NewerSchema { path: path.into(), found: from, known: SCHEMA });
    }
    if found.is_none() {
        transaction.execute("INSERT INTO schema_version (version) VALUES (0)", []).map_err(sqlite)?;
    }
    for step in MIGRATIONS.iter().skip(from.max(0) as usize) {
        transaction.execute_batch(step).map_err(sqlite)?;
    }
    if from < SCHEMA {
        transaction.execute("UPDATE schema_version SET version = ?1", [SCHEMA]).map_err(sqlite)?;
    }
    transaction.commit().map_err(sqlite)
}

fn flush_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}
