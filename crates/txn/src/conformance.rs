//! What every journal must do, as tests that a back end calls on itself: `suite(|| async { fresh journal }).await`.
//! A back end that can be opened again runs [`reopened`] as well.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use mainstay_core::TransactionId;

use crate::journal::{Change, Counts, Cursor, DefinitionId, Filter, History, Inserted, Journal, New, Stored};
use crate::machine::Status;

const FAILED: &str = "a journal that is well takes this";

/// Runs everything against fresh journals that `make` makes. Panics where one does not conform.
pub async fn suite<J: Journal, F: Future<Output = Arc<J>>>(make: impl Fn() -> F) {
    definitions_are_stored_once(&*make().await).await;
    what_is_inserted_reads_back(&*make().await).await;
    a_key_is_taken_once(&*make().await).await;
    an_id_is_taken_once(&*make().await).await;
    a_change_needs_the_version(&*make().await).await;
    the_history_grows_or_is_replaced(&*make().await).await;
    open_ones_come_in_pages(&*make().await).await;
    lists_are_filtered_newest_first(&*make().await).await;
    of_many_that_race_one_wins(make().await).await;
}

/// Writes through one journal and reads through the same back end opened again: `reopen` gets the first one to close.
pub async fn reopened<J: Journal, F: Future<Output = Arc<J>>>(first: Arc<J>, reopen: impl FnOnce(Arc<J>) -> F) {
    let definition = first.define("one".into()).await.expect(FAILED);
    let a = insert(&*first, new("a", Some("k"), definition)).await;
    let b = insert(&*first, new("b", None, definition)).await;
    assert!(change(&*first, &a, 0, Status::Compensating, "1\n").await);
    assert!(change(&*first, &b, 0, Status::Committed, "2\n").await);
    let before = [stored(&*first, "a").await, stored(&*first, "b").await];

    let second = reopen(first).await;
    assert_eq!([stored(&*second, "a").await, stored(&*second, "b").await], before, "every row is as it was");
    assert_eq!(second.define("one".into()).await, Ok(definition), "the same text keeps its id");
    assert_eq!(second.definition(definition).await, Ok(Some("one".into())));
    let again = second.insert(new("c", Some("k"), definition)).await.expect(FAILED);
    assert!(matches!(again, Inserted::Existing(s) if s.id.as_str() == "a"), "keys are remembered");
    let open = second.open(10, None).await.expect(FAILED).rows;
    assert_eq!(open.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ["a"], "what is open is found");
    let c = insert(&*second, new("c", None, definition)).await;
    assert!(c > b, "the order of acceptance goes on");
    assert!(!change(&*second, &a, 0, Status::Running, "").await, "versions are remembered");
}

fn new(id: &str, key: Option<&str>, definition: DefinitionId) -> New {
    New {
        id: TransactionId::new(id),
        name: "checkout".into(),
        key: key.unwrap_or(id).into(),
        dedup: key.is_some(),
        definition,
        status: Status::Running,
        state: format!("state of {id}"),
        started_ms: 1_000,
        input: Bytes::from_static(b"{\"n\":1}"),
    }
}

async fn define(j: &dyn Journal) -> DefinitionId {
    j.define("a definition".into()).await.expect(FAILED)
}

async fn insert(j: &dyn Journal, new: New) -> Placed {
    let id = new.id.clone();
    match j.insert(new).await {
        Ok(Inserted::New(cursor)) => Placed { cursor, id },
        other => panic!("{id} was not inserted: {other:?}"),
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    cursor: Cursor,
    id: TransactionId,
}

async fn change(j: &dyn Journal, at: &Placed, version: i64, status: Status, lines: &str) -> bool {
    let history = History::Append(lines.into());
    change_with(j, at, version, status, history).await
}

async fn change_with(j: &dyn Journal, at: &Placed, version: i64, status: Status, history: History) -> bool {
    let change = Change {
        cursor: at.cursor,
        id: at.id.clone(),
        version,
        status,
        state: format!("{} after {version}", at.id),
        updated_ms: 2_000 + version,
        history,
    };
    j.update(change).await.expect(FAILED)
}

async fn stored(j: &dyn Journal, id: &str) -> Stored {
    j.get(TransactionId::new(id)).await.expect(FAILED).expect("it was inserted")
}

async fn definitions_are_stored_once(j: &dyn Journal) {
    let a = j.define("a".into()).await.expect(FAILED);
    let b = j.define("b".into()).await.expect(FAILED);
    assert_ne!(a, b);
    assert_eq!(j.define("a".into()).await, Ok(a), "the same text has the same id");
    assert_eq!(j.definition(b).await, Ok(Some("b".into())));
    assert_eq!(j.definition(DefinitionId(a.0 + b.0 + 1)).await, Ok(None));
}

async fn what_is_inserted_reads_back(j: &dyn Journal) {
    let definition = define(j).await;
    // Bytes that are no text, and a key that would hurt unquoted.
    let input = Bytes::from_static(&[0, 159, 146, 150, b'\'', 0]);
    let placed = insert(j, New { input: input.clone(), ..new("a", Some("k'; --\"\u{e4}"), definition) }).await;
    let expected = Stored {
        cursor: placed.cursor,
        id: placed.id.clone(),
        name: "checkout".into(),
        key: "k'; --\"\u{e4}".into(),
        definition,
        status: Status::Running,
        version: 0,
        started_ms: 1_000,
        updated_ms: 1_000,
        state: "state of a".into(),
        history: String::new(),
        input,
    };
    assert_eq!(stored(j, "a").await, expected);
    assert_eq!(j.get(TransactionId::new("b")).await, Ok(None));
}

async fn a_key_is_taken_once(j: &dyn Journal) {
    let definition = define(j).await;
    insert(j, new("a", Some("k"), definition)).await;
    match j.insert(new("b", Some("k"), definition)).await {
        Ok(Inserted::Existing(first)) => assert_eq!(*first, stored(j, "a").await),
        other => panic!("the key was taken: {other:?}"),
    }
    assert_eq!(j.get(TransactionId::new("b")).await, Ok(None), "nothing was written");
    insert(j, New { name: "refund".into(), ..new("c", Some("k"), definition) }).await;
    // Without dedup a key says nothing, not even to others that have one.
    insert(j, New { dedup: false, ..new("d", Some("k"), definition) }).await;
    insert(j, New { dedup: false, ..new("e", Some("k"), definition) }).await;
    insert(j, New { dedup: false, key: "later".into(), ..new("f", None, definition) }).await;
    insert(j, new("g", Some("later"), definition)).await;
}

async fn an_id_is_taken_once(j: &dyn Journal) {
    let definition = define(j).await;
    insert(j, new("a", None, definition)).await;
    assert_eq!(j.insert(new("a", None, definition)).await, Ok(Inserted::IdTaken));
    assert_eq!(j.insert(new("a", Some("k"), definition)).await, Ok(Inserted::IdTaken));
    assert_eq!(j.counts().await, Ok(Counts { running: 1, ..Counts::default() }));
}

async fn a_change_needs_the_version(j: &dyn Journal) {
    let definition = define(j).await;
    let a = insert(j, new("a", None, definition)).await;
    let b = insert(j, new("b", None, definition)).await;
    assert!(change(j, &a, 0, Status::Compensating, "").await);
    assert!(!change(j, &a, 0, Status::Committed, "").await, "an old version changes nothing");
    assert!(!change(j, &a, 2, Status::Committed, "").await, "nor does one that is not there yet");
    let mixed = Placed { cursor: b.cursor, id: a.id.clone() };
    assert!(!change(j, &mixed, 1, Status::Committed, "").await, "place and id must belong together");
    let unknown = Placed { cursor: Cursor(999), id: TransactionId::new("x") };
    assert!(!change(j, &unknown, 0, Status::Committed, "").await);
    let row = stored(j, "a").await;
    assert_eq!((row.status, row.version, row.updated_ms), (Status::Compensating, 1, 2_000));
    assert_eq!(row.state, "a after 0");
    assert_eq!(stored(j, "b").await.version, 0);
    assert!(change(j, &a, 1, Status::RolledBack, "").await);
    assert_eq!(j.counts().await, Ok(Counts { running: 1, rolled_back: 1, ..Counts::default() }));
}

async fn the_history_grows_or_is_replaced(j: &dyn Journal) {
    let definition = define(j).await;
    let a = insert(j, new("a", None, definition)).await;
    assert!(change(j, &a, 0, Status::Running, "one\n").await);
    assert!(change(j, &a, 1, Status::Running, "").await);
    assert!(change(j, &a, 2, Status::Running, "two\nthree\n").await);
    assert_eq!(stored(j, "a").await.history, "one\ntwo\nthree\n");
    assert!(change_with(j, &a, 3, Status::Running, History::Replace("new\n".into())).await);
    assert!(change(j, &a, 4, Status::Running, "last\n").await);
    assert_eq!(stored(j, "a").await.history, "new\nlast\n");
}

async fn open_ones_come_in_pages(j: &dyn Journal) {
    let definition = define(j).await;
    let mut expected = Vec::new();
    for (i, status) in (0..20).zip(Status::ALL.into_iter().cycle()) {
        let placed = insert(j, new(&format!("t{i}"), None, definition)).await;
        assert!(change(j, &placed, 0, status, "").await);
        if status.is_open() {
            expected.push(placed.id);
        }
    }
    let (mut seen, mut pages, mut cursor) = (Vec::new(), 0, None);
    loop {
        let page = j.open(3, cursor).await.expect(FAILED);
        assert!(page.rows.len() <= 3);
        pages += 1;
        seen.extend(page.rows.into_iter().map(|r| r.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, expected, "the oldest first, none missing, none twice");
    assert_eq!(pages, 3);
}

async fn lists_are_filtered_newest_first(j: &dyn Journal) {
    let definition = define(j).await;
    for i in 0..6_i64 {
        let name = if i % 2 == 0 { "even" } else { "odd" };
        let key = format!("k{i}");
        let row = New { name: name.into(), started_ms: 100 * i, ..new(&format!("t{i}"), Some(&key), definition) };
        let placed = insert(j, row).await;
        if i >= 4 {
            assert!(change(j, &placed, 0, Status::Committed, "").await);
        }
    }
    async fn check(
        j: &dyn Journal,
        filter: Filter,
        limit: usize,
        cursor: Option<Cursor>,
        ids: &[&str],
    ) -> Option<Cursor> {
        let page = j.list(filter.clone(), limit, cursor).await.expect(FAILED);
        assert_eq!(page.rows.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ids, "{filter:?}");
        page.next
    }
    let all = Filter::default;
    assert_eq!(check(j, all(), 10, None, &["t5", "t4", "t3", "t2", "t1", "t0"]).await, None);
    let next = check(j, all(), 4, None, &["t5", "t4", "t3", "t2"]).await;
    assert!(next.is_some());
    assert_eq!(check(j, all(), 4, next, &["t1", "t0"]).await, None);
    let odd = || Filter { name: Some("odd".into()), ..all() };
    check(j, odd(), 10, None, &["t5", "t3", "t1"]).await;
    check(j, Filter { status: Some(Status::Committed), ..all() }, 10, None, &["t5", "t4"]).await;
    check(j, Filter { status: Some(Status::Committed), ..odd() }, 10, None, &["t5"]).await;
    check(j, Filter { key: Some("k3".into()), ..all() }, 10, None, &["t3"]).await;
    check(j, Filter { since_ms: Some(100), until_ms: Some(300), ..all() }, 10, None, &["t2", "t1"]).await;
}

async fn of_many_that_race_one_wins<J: Journal>(j: Arc<J>) {
    const RACERS: usize = 32;
    let definition = define(&*j).await;
    let mut starts = tokio::task::JoinSet::new();
    for i in 0..RACERS {
        let j = j.clone();
        starts.spawn(async move { j.insert(new(&format!("t{i}"), Some("k"), definition)).await.expect(FAILED) });
    }
    let results = starts.join_all().await;
    assert_eq!(results.iter().filter(|r| matches!(r, Inserted::New(_))).count(), 1);
    let row = &j.list(Filter::default(), 10, None).await.expect(FAILED).rows[0];
    let placed = Placed { cursor: row.cursor, id: row.id.clone() };
    for result in results {
        assert!(
            matches!(result, Inserted::New(c) if c == placed.cursor)
                || matches!(result, Inserted::Existing(s) if s.id == placed.id)
        );
    }
    let mut changes = tokio::task::JoinSet::new();
    for _ in 0..RACERS {
        let (j, placed) = (j.clone(), placed.clone());
        changes.spawn(async move { change(&*j, &placed, 0, Status::Compensating, "x").await });
    }
    assert_eq!(changes.join_all().await.into_iter().filter(|won| *won).count(), 1);
    let row = stored(&*j, placed.id.as_str()).await;
    assert_eq!((row.version, row.history.as_str()), (1, "x"));
}
