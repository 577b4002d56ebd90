//! The statements.

use bytes::Bytes;
use mainstay_core::TransactionId;
use mainstay_txn::{Change, Counts, Cursor, DefinitionId, Filter, History, Inserted, New, Rows, Status, Stored};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

const COLUMNS: &str = "seq, id, name, key, definition, status, version, started_ms, updated_ms, state, history, input";

fn status(index: u8) -> rusqlite::Result<Status> {
    Status::ALL
        .into_iter()
        .find(|s| s.index() == index)
        .ok_or(rusqlite::Error::IntegralValueOutOfRange(5, i64::from(index)))
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        cursor: Cursor(row.get(0)?),
        id: TransactionId::new(row.get_ref(1)?.as_str()?),
        name: row.get(2)?,
        key: row.get(3)?,
        definition: DefinitionId(row.get(4)?),
        status: status(row.get(5)?)?,
        version: row.get(6)?,
        started_ms: row.get(7)?,
        updated_ms: row.get(8)?,
        state: row.get(9)?,
        history: row.get(10)?,
        input: Bytes::copy_from_slice(row.get_ref(11)?.as_blob()?),
    })
}

pub(super) fn define(c: &Connection, body: &str) -> rusqlite::Result<DefinitionId> {
    c.prepare_cached("INSERT INTO definitions (body) VALUES (?1) ON CONFLICT (body) DO NOTHING")?.execute([body])?;
    c.prepare_cached("SELECT id FROM definitions WHERE body = ?1")?.query_row([body], |r| r.get(0).map(DefinitionId))
}

pub(super) fn definition(c: &Connection, id: DefinitionId) -> rusqlite::Result<Option<String>> {
    c.prepare_cached("SELECT body FROM definitions WHERE id = ?1")?.query_row([id.0], |r| r.get(0)).optional()
}

pub(super) fn insert(c: &Connection, new: &New) -> rusqlite::Result<Inserted> {
    let cursor: Option<i64> = c
        .prepare_cached(
            "INSERT INTO transactions (id, name, key, dedup, definition, status, version, started_ms, updated_ms, state, history, input)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?7, ?8, '', ?9)
             ON CONFLICT DO NOTHING RETURNING seq",
        )?
        .query_row(
            params![
                new.id.as_str(),
                new.name,
                new.key,
                new.dedup,
                new.definition.0,
                new.status.index(),
                new.started_ms,
                new.state,
                &*new.input,
            ],
            |r| r.get(0),
        )
        .optional()?;
    if let Some(cursor) = cursor {
        return Ok(Inserted::New(Cursor(cursor)));
    }
    if !new.dedup {
        return Ok(Inserted::IdTaken);
    }
    let by_key = format!("SELECT {COLUMNS} FROM transactions WHERE name = ?1 AND key = ?2 AND dedup = 1");
    let existing = c.prepare_cached(&by_key)?.query_row([&new.name, &new.key], stored).optional()?;
    Ok(existing.map_or(Inserted::IdTaken, |s| Inserted::Existing(Box::new(s))))
}

pub(super) fn update(c: &Connection, change: &Change) -> rusqlite::Result<bool> {
    const APPEND: &str = "UPDATE transactions
         SET status = ?1, version = version + 1, updated_ms = ?2, state = ?3, history = history || ?4
         WHERE seq = ?5 AND id = ?6 AND version = ?7";
    const REPLACE: &str = "UPDATE transactions
         SET status = ?1, version = version + 1, updated_ms = ?2, state = ?3, history = ?4
         WHERE seq = ?5 AND id = ?6 AND version = ?7";
    let (statement, history) = match &change.history {
        History::Append(lines) => (APPEND, lines),
        History::Replace(all) => (REPLACE, all),
    };
    let changed = c.prepare_cached(statement)?.execute(params![
        change.status.index(),
        change.updated_ms,
        change.state,
        history,
        change.cursor.0,
        change.id.as_str(),
        change.version,
    ])?;
    Ok(changed == 1)
}

pub(super) fn get(c: &Connection, id: &TransactionId) -> rusqlite::Result<Option<Stored>> {
    let by_id = format!("SELECT {COLUMNS} FROM transactions WHERE id = ?1");
    c.prepare_cached(&by_id)?.query_row([id.as_str()], stored).optional()
}

pub(super) fn list(c: &Connection, filter: &Filter, limit: usize, cursor: Option<Cursor>) -> rusqlite::Result<Rows> {
    let mut conditions = String::from("1 = 1");
    let mut values: Vec<Value> = Vec::new();
    let mut and = |condition: &str, value: Option<Value>| {
        if let Some(value) = value {
            values.push(value);
            conditions.push_str(&format!(" AND {condition} ?{}", values.len()));
        }
    };
    and("seq <", cursor.map(|c| c.0.into()));
    and("name =", filter.name.clone().map(Value::from));
    and("status =", filter.status.map(|s| Value::from(i64::from(s.index()))));
    and("key =", filter.key.clone().map(Value::from));
    and("started_ms >=", filter.since_ms.map(Value::from));
    and("started_ms <", filter.until_ms.map(Value::from));
    let select = format!("SELECT {COLUMNS} FROM transactions WHERE {conditions} ORDER BY seq DESC");
    page(c, &select, &values, limit)
}

pub(super) fn open(c: &Connection, limit: usize, cursor: Option<Cursor>) -> rusqlite::Result<Rows> {
    let open: Vec<String> = Status::ALL.iter().filter(|s| s.is_open()).map(|s| s.index().to_string()).collect();
    let select =
        format!("SELECT {COLUMNS} FROM transactions WHERE status IN ({}) AND seq > ?1 ORDER BY seq", open.join(", "));
    page(c, &select, &[cursor.map_or(0, |c| c.0).into()], limit)
}

fn page(c: &Connection, select: &str, values: &[Value], limit: usize) -> rusqlite::Result<Rows> {
    let select = format!("{select} LIMIT {}", limit.saturating_add(1));
    let mut statement = c.prepare_cached(&select)?;
    let mut rows: Vec<Stored> =
        statement.query_map(params_from_iter(values), stored)?.collect::<rusqlite::Result<_>>()?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    Ok(Rows { next: rows.last().filter(|_| more).map(|r| r.cursor), rows })
}

pub(super) fn counts(c: &Connection) -> rusqlite::Result<Counts> {
    let mut counts = Counts::default();
    let mut statement = c.prepare_cached("SELECT status, COUNT(*) FROM transactions GROUP BY status")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        *counts.of_mut(status(row.get(0)?)?) = row.get::<_, i64>(1)?.max(0) as u64;
    }
    Ok(counts)
}
