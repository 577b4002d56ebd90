//! A journal that lives as long as its process: for tests, and for simulations in which it is the disk that survives.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mainstay_core::TransactionId;

use crate::journal::{
    Answer, Change, Counts, Cursor, DefinitionId, Filter, History, Inserted, Journal, JournalError, New, Rows, Stored,
};

/// A journal in memory. Everything is done at once, in the order of the calls.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    definitions: Vec<String>,
    rows: Vec<Stored>,
    by_id: BTreeMap<TransactionId, usize>,
    by_key: BTreeMap<(String, String), usize>,
}

impl MemoryJournal {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn insert(&mut self, new: New) -> Inserted {
        let name_and_key = (new.name.clone(), new.key.clone());
        if new.dedup
            && let Some(&at) = self.by_key.get(&name_and_key)
        {
            return Inserted::Existing(Box::new(self.rows[at].clone()));
        }
        if self.by_id.contains_key(&new.id) {
            return Inserted::IdTaken;
        }
        let at = self.rows.len();
        let cursor = Cursor(at as i64 + 1);
        self.by_id.insert(new.id.clone(), at);
        if new.dedup {
            self.by_key.insert(name_and_key, at);
        }
        self.rows.push(Stored {
            cursor,
            id: new.id,
            name: new.name,
            key: new.key,
            definition: new.definition,
            status: new.status,
            version: 0,
            started_ms: new.started_ms,
            updated_ms: new.started_ms,
            state: new.state,
            history: String::new(),
            input: new.input,
        });
        Inserted::New(cursor)
    }

    fn update(&mut self, change: Change) -> bool {
        let at = self.by_id.get(&change.id).copied();
        let Some(row) = at.map(|at| &mut self.rows[at]) else { return false };
        if row.version != change.version || row.cursor != change.cursor {
            return false;
        }
        row.version += 1;
        row.status = change.status;
        row.state = change.state;
        row.updated_ms = change.updated_ms;
        match change.history {
            History::Append(lines) => row.history.push_str(&lines),
            History::Replace(all) => row.history = all,
        }
        true
    }
}

/// The first `limit` of `rows`, and whether there are more.
fn page<'a>(rows: impl Iterator<Item = &'a Stored>, limit: usize) -> Rows {
    let mut rows: Vec<Stored> = rows.take(limit.saturating_add(1)).cloned().collect();
    let more = rows.len() > limit;
    rows.truncate(limit);
    Rows { next: rows.last().filter(|_| more).map(|r| r.cursor), rows }
}

fn matches(filter: &Filter, row: &Stored) -> bool {
    filter.name.as_ref().is_none_or(|n| *n == row.name)
        && filter.status.is_none_or(|s| s == row.status)
        && filter.key.as_ref().is_none_or(|k| *k == row.key)
        && filter.since_ms.is_none_or(|t| row.started_ms >= t)
        && filter.until_ms.is_none_or(|t| row.started_ms < t)
}

fn now<'a, T: Send + 'a>(value: T) -> Answer<'a, T> {
    Box::pin(std::future::ready(Ok::<T, JournalError>(value)))
}

impl Journal for MemoryJournal {
    fn define(&self, definition: String) -> Answer<'_, DefinitionId> {
        let mut kept = self.kept();
        let at = kept.definitions.iter().position(|d| *d == definition).unwrap_or_else(|| {
            kept.definitions.push(definition);
            kept.definitions.len() - 1
        });
        now(DefinitionId(at as i64 + 1))
    }

    fn definition(&self, id: DefinitionId) -> Answer<'_, Option<String>> {
        let at = usize::try_from(id.0 - 1).ok();
        now(at.and_then(|at| self.kept().definitions.get(at).cloned()))
    }

    fn insert(&self, new: New) -> Answer<'_, Inserted> {
        now(self.kept().insert(new))
    }

    fn update(&self, change: Change) -> Answer<'_, bool> {
        now(self.kept().update(change))
    }

    fn get(&self, id: TransactionId) -> Answer<'_, Option<Stored>> {
        let kept = self.kept();
        now(kept.by_id.get(&id).map(|&at| kept.rows[at].clone()))
    }

    fn list(&self, filter: Filter, limit: usize, cursor: Option<Cursor>) -> Answer<'_, Rows> {
        let kept = self.kept();
        let rows = kept.rows.iter().rev().filter(|r| cursor.is_none_or(|c| r.cursor < c) && matches(&filter, r));
        now(page(rows, limit))
    }

    fn open(&self, limit: usize, cursor: Option<Cursor>) -> Answer<'_, Rows> {
        let kept = self.kept();
        let rows = kept.rows.iter().filter(|r| r.status.is_open() && cursor.is_none_or(|c| r.cursor > c));
        now(page(rows, limit))
    }

    fn counts(&self) -> Answer<'_, Counts> {
        let mut counts = Counts::default();
        for row in &self.kept().rows {
            *counts.of_mut(row.status) += 1;
        }
        now(counts)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    #[tokio::test]
    async fn conforms() {
        crate::conformance::suite(|| async { Arc::new(super::MemoryJournal::new()) }).await;
    }
}
