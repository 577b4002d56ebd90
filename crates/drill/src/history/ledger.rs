//! Where running clients write down what they do.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;

use super::{Ending, History, Line, Op};

/// Counts for the live display.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) right: u64,
    pub(crate) failed: u64,
    pub(crate) unknown: u64,
}

/// A client's number, taken for one operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) index: u64,
}

/// The history while it is being made.
pub(crate) struct Ledger {
    state: Mutex<State>,
    lines: Mutex<Option<mpsc::Sender<Line>>>,
}

#[derive(Default)]
struct State {
    finished: Vec<Op>,
    open: BTreeMap<u64, Op>,
    idle: Vec<u64>,
    next_process: u64,
    counts: Counts,
}

impl Ledger {
    pub(crate) fn new(lines: Option<mpsc::Sender<Line>>) -> Self {
        Self { state: Mutex::default(), lines: Mutex::new(lines) }
    }

    /// No more lines: the file ends here.
    pub(crate) fn close_file(&self) {
        *self.lines.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, kind: &'static str, op: &Op, value: serde_json::Value, time: Duration) {
        let sender = self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(sender) = sender {
            let line = Line { index: 0, process: op.process, kind, f: op.name.to_string(), value, time };
            // An error means that the disk is full or gone; the writer tells it at the end.
            let _ = sender.send(line).await;
        }
    }

    /// An arrival that could not be tried.
    pub(crate) fn unsent(&self, op: Op) {
        let mut state = self.state();
        state.counts.failed += 1;
        state.finished.push(op);
    }

    /// An operation begins. What is not ended by the end of the run is unknown.
    pub(crate) async fn begin(&self, mut op: Op) -> Sent {
        {
            let mut state = self.state();
            op.process = state.idle.pop().unwrap_or_else(|| {
                state.next_process += 1;
                state.next_process - 1
            });
            op.ending = Ending::Unknown;
            state.counts.sent += 1;
            state.open.insert(op.index, op.clone());
        }
        let value = json!({ "key": &*op.key, "op": op.index });
        self.write("invoke", &op, value, op.sent.unwrap_or(op.due)).await;
        Sent { index: op.index }
    }

    /// An operation is over: `end` fills in how.
    pub(crate) async fn end(&self, sent: Sent, end: impl FnOnce(&mut Op)) {
        let op = {
            let mut state = self.state();
            let Some(mut op) = state.open.remove(&sent.index) else { return };
            end(&mut op);
            match op.ending {
                e if e.is_right() => state.counts.right += 1,
                Ending::Unknown => state.counts.unknown += 1,
                _ => state.counts.failed += 1,
            }
            if op.ending != Ending::Unknown {
                state.idle.push(op.process);
            }
            state.finished.push(op.clone());
            op
        };
        let value = json!({
            "key": &*op.key, "op": op.index, "status": op.status, "ending": op.ending.as_str(),
            "acked": op.ending.is_acked(), "detail": op.detail,
        });
        self.write(op.ending.history_type(), &op, value, op.done.unwrap_or(op.due)).await;
    }

    pub(crate) fn counts(&self) -> Counts {
        self.state().counts
    }

    /// The finished operations that were due at or after `from`, in no order.
    ///
    /// Looks back no further than it must: operations finish out of order, but none later than `give_up` after it
    /// was due.
    pub(crate) fn finished_since(&self, from: Duration, give_up: Duration) -> Vec<Op> {
        let state = self.state();
        let recent = state.finished.iter().rev().take_while(|op| op.due + give_up >= from);
        recent.filter(|op| op.due >= from).cloned().collect()
    }

    /// Everything, with what is still open as unknown.
    pub(crate) fn history(&self) -> History {
        let state = self.state();
        let mut operations = state.finished.clone();
        operations.extend(state.open.values().cloned());
        operations.sort_by_key(|op| op.index);
        History { operations }
    }
}
