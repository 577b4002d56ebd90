//! The SQLite journal against the suite that every journal passes, and what is its own: files, schema, failure.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use mainstay_core::TransactionId;
use mainstay_store::{OpenError, SqliteJournal, StoreOptions};
use mainstay_txn::{Inserted, Journal, JournalError, New, Status, conformance};

fn open(folder: &Path) -> Arc<SqliteJournal> {
    Arc::new(SqliteJournal::open(folder.join("mainstay.db"), StoreOptions::default()).unwrap())
}

fn new(id: &str) -> New {
    New {
        id: TransactionId::new(id),
        name: "checkout".into(),
        key: id.into(),
        dedup: false,
        definition: mainstay_txn::DefinitionId(1),
        status: Status::Running,
        state: "{}".into(),
        started_ms: 0,
        input: Bytes::from_static(b"{}"),
    }
}

#[tokio::test]
async fn conforms() {
    let folder = tempfile::tempdir().unwrap();
    let made = std::cell::Cell::new(0);
    conformance::suite(|| {
        made.set(made.get() + 1);
        let path = folder.path().join(format!("{}.db", made.get()));
        async move { Arc::new(SqliteJournal::open(path, StoreOptions::default()).unwrap()) }
    })
    .await;
}

#[tokio::test]
async fn conforms_when_reopened() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    conformance::reopened(first, |first| async {
        drop(first);
        open(folder.path())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_share_groups_and_all_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..2_000 {
        let journal = journal.clone();
        tasks.spawn(async move { journal.insert(new(&format!("t{i}"))).await.unwrap() });
    }
    let mut cursors: Vec<_> = tasks
        .join_all()
        .await
        .into_iter()
        .map(|i| match i {
            Inserted::New(cursor) => cursor,
            other => panic!("{other:?}"),
        })
        .collect();
    cursors.sort();
    cursors.dedup();
    assert_eq!(cursors.len(), 2_000);
    assert_eq!(journal.counts().await.unwrap().running, 2_000);
}

#[tokio::test]
async fn what_was_acknowledged_before_the_journal_is_dropped_is_there_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let journal = open(folder.path());
        assert_eq!(journal.counts().await.unwrap().running, round);
        journal.insert(new(&format!("t{round}"))).await.unwrap();
    }
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let path = folder.path().join("mainstay.db");
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute("UPDATE schema_version SET version = 99", []).unwrap();
    let error = SqliteJournal::open(&path, StoreOptions::default()).err().expect("it is newer");
    assert!(matches!(error, OpenError::NewerSchema { found: 99, .. }), "{error}");
    assert!(error.to_string().contains("later version"), "{error}");
    let version: i64 = raw.query_row("SELECT version FROM schema_version", [], |r| r.get(0)).unwrap();
    assert_eq!(version, 99);
}

#[test]
fn a_file_that_is_no_database_and_a_folder_that_is_not_there_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.db");
    std::fs::write(&path, "this is certainly not a database, as anybody can see, is it?".repeat(100)).unwrap();
    let error = SqliteJournal::open(&path, StoreOptions::default()).err().expect("it is text");
    assert!(error.to_string().contains("text.db"), "{error}");
    let error =
        SqliteJournal::open(folder.path().join("no/such.db"), StoreOptions::default()).err().expect("no folder");
    assert!(error.to_string().contains("no/such.db"), "{error}");
}

#[tokio::test]
async fn a_write_that_cannot_be_made_durable_ends_the_journal_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let mut failed = journal.failed();
    journal.insert(new("a")).await.unwrap();
    // Whatever SQLite reports that is not about the one operation: here the table is gone.
    let raw = rusqlite::Connection::open(folder.path().join("mainstay.db")).unwrap();
    raw.execute("DROP TABLE transactions", []).unwrap();
    let error = journal.insert(new("b")).await.unwrap_err();
    assert!(matches!(error, JournalError::Failed(_)), "{error}");
    failed.changed().await.unwrap();
    assert!(failed.borrow().is_some());
    let again = journal.insert(new("c")).await.unwrap_err();
    assert!(matches!(again, JournalError::Failed(_)), "{again}");
}
