//! The judge: compares what clients were told, what the journal says and what the participants did.

use std::collections::BTreeMap;

use mainstay_txn::{Status, Stored};

use crate::shop::Entry;
use crate::world::{Told, Wanted, World};

/// A promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// What a client was told is so, and what has effects is known.
    NoneLost,
    /// One key, one transaction.
    StartedOnce,
    /// An effect happens at most once.
    AtMostOnce,
    /// Nothing is made and nothing vanishes.
    Conserved,
    /// All or nothing, and never first one and then the other.
    NeverBoth,
    /// Every transaction comes to an end.
    AllTerminal,
    /// Without faults the services answer, and every client learns its fate.
    Heals,
    /// Nothing panics.
    NoPanic,
}

/// A promise that was broken.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    #[expect(dead_code, reason = "read by people, in the message of a failed test")]
    what: String,
}

impl Violation {
    pub(crate) fn of(rule: Rule, what: impl Into<String>) -> Self {
        Self { rule, what: what.into() }
    }
}

/// Every broken promise.
pub(crate) fn judge(world: &World, rows: &[Stored]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut by_key: BTreeMap<&str, &Stored> = BTreeMap::new();
    for row in rows {
        if !row.status.is_final() {
            found.push(Violation::of(Rule::AllTerminal, format!("{} of {} is {:?}", row.id, row.key, row.status)));
        }
        if by_key.insert(&row.key, row).is_some() {
            found.push(Violation::of(Rule::StartedOnce, format!("{} was started twice", row.key)));
        }
    }
    for wanted in world.wanted.borrow().values() {
        let row = by_key.get(wanted.id.as_str()).copied();
        told(world, &wanted.id, row, &mut found);
        effects(world, wanted, row, &mut found);
    }
    for (service, ledger) in &world.ledgers {
        let ledger = ledger.borrow();
        let taken: i64 = ledger.entries.values().map(|entry| entry.taken).sum();
        if ledger.free < 0 || ledger.free + taken != ledger.initial {
            let what = format!("{service}: {} free and {taken} taken of {}", ledger.free, ledger.initial);
            found.push(Violation::of(Rule::Conserved, what));
        }
    }
    found
}

fn told(world: &World, id: &str, row: Option<&Stored>, found: &mut Vec<Violation>) {
    let told = world.told.borrow();
    let Some(told) = told.get(id) else { return };
    let status = row.map(|row| row.status);
    if told.contains(&Told::Committed) && told.contains(&Told::RolledBack) {
        found.push(Violation::of(Rule::NeverBoth, format!("{id}: clients were told both")));
    }
    for told in told {
        let so = match told {
            Told::Committed => status == Some(Status::Committed),
            Told::RolledBack => status == Some(Status::RolledBack),
            Told::Accepted => status.is_some(),
        };
        if !so {
            found.push(Violation::of(Rule::NoneLost, format!("{id}: a client was told {told:?}, it is {status:?}")));
        }
    }
}

fn effects(world: &World, wanted: &Wanted, row: Option<&Stored>, found: &mut Vec<Violation>) {
    let id = &wanted.id;
    for (service, ledger) in &world.ledgers {
        let ledger = ledger.borrow();
        let entry = ledger.entries.get(id).cloned().unwrap_or_default();
        let Entry { taken, applied, barred, settled, both } = entry;
        let mut wrong = |rule, what: &str| {
            found.push(Violation::of(
                rule,
                format!("{service} of {id}, {:?}: {what}: {entry:?}", row.map(|r| r.status)),
            ));
        };
        if applied > 1 {
            wrong(Rule::AtMostOnce, "applied more than once");
        }
        if both {
            wrong(Rule::NeverBoth, "settled and undone");
        }
        let expected = match *service {
            "inventory" => wanted.quantity,
            "payment" => wanted.amount,
            _ => 0,
        };
        let whole = applied == 1 && !barred && taken == expected && (settled || *service == "payment");
        let nothing = taken == 0 && !settled && (applied == 0 || barred);
        match row.map(|row| row.status) {
            Some(Status::Committed) if !whole => wrong(Rule::NeverBoth, "committed, and not all of it happened"),
            Some(Status::RolledBack) if !nothing => wrong(Rule::NeverBoth, "rolled back, and some of it is left"),
            None if applied > 0 || barred => wrong(Rule::NoneLost, "effects of an order that nobody knows"),
            _ => {}
        }
    }
}
