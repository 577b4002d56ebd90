//! What outlives every host: the disks, the trace, and what clients were told.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::{Clock, Endpoints, EventBus, WallMs};
use mainstay_txn::MemoryJournal;
use tokio::sync::watch;

use crate::run::Mutation;
use crate::shop::Ledger;

/// When simulated time begins.
const EPOCH_MS: WallMs = 1_764_000_000_000;

/// Wall time as all hosts have it; it goes on while a host is down.
pub(crate) struct SimulatedClock;

impl Clock for SimulatedClock {
    fn wall_ms(&self) -> WallMs {
        // Outside a host nobody asks.
        EPOCH_MS + turmoil::sim_elapsed().unwrap_or_default().as_millis() as WallMs
    }
}

/// What a client was told about an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    Committed,
    RolledBack,
    /// It is durable, and goes on.
    Accepted,
}

/// An order that a client wants.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) id: String,
    pub(crate) quantity: i64,
    pub(crate) amount: i64,
    pub(crate) card: &'static str,
}

/// What outlives every host.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) mutation: Mutation,
    /// The disk of the host that runs Mainstay.
    pub(crate) journal: Arc<MemoryJournal>,
    /// The databases of the services, by name. The replicas of a service share one.
    pub(crate) ledgers: BTreeMap<&'static str, RefCell<Ledger>>,
    pub(crate) endpoints: watch::Sender<Endpoints>,
    /// The faults are on.
    pub(crate) hurting: Cell<bool>,
    /// Hosts that do nothing for now.
    pub(crate) frozen: RefCell<BTreeSet<String>>,
    /// How often Mainstay was started.
    pub(crate) starts: Cell<u64>,
    /// One bus for each start of Mainstay.
    pub(crate) buses: RefCell<Vec<EventBus>>,
    pub(crate) wanted: RefCell<BTreeMap<String, Wanted>>,
    pub(crate) told: RefCell<BTreeMap<String, BTreeSet<Told>>>,
    /// Tries of clients that got no answer that says anything.
    pub(crate) unanswered: Cell<u64>,
    trace: RefCell<Vec<String>>,
}

impl World {
    pub(crate) fn new(seed: u64, mutation: Mutation) -> Rc<Self> {
        let ledger = |initial| RefCell::new(Ledger::new(initial, mutation != Mutation::NoBarrier));
        Rc::new(Self {
            seed,
            mutation,
            journal: Arc::new(MemoryJournal::new()),
            ledgers: BTreeMap::from([
                ("order", ledger(0)),
                ("inventory", ledger(130)),
                ("payment", ledger(10_000_000)),
            ]),
            endpoints: watch::Sender::new(Endpoints::default()),
            hurting: Cell::new(true),
            frozen: RefCell::default(),
            starts: Cell::new(0),
            buses: RefCell::default(),
            wanted: RefCell::default(),
            told: RefCell::default(),
            unanswered: Cell::new(0),
            trace: RefCell::default(),
        })
    }

    /// Writes down what happened in a host.
    pub(crate) fn note(&self, who: &str, what: impl Display) {
        self.note_at(turmoil::sim_elapsed().unwrap_or_default(), who, what);
    }

    /// Writes down what happened to the hosts.
    pub(crate) fn note_at(&self, at: Duration, who: &str, what: impl Display) {
        self.trace.borrow_mut().push(format!("{:>10.6} {who}: {what}", at.as_secs_f64()));
    }

    /// Everything that was written down, with the events of every bus at its end.
    pub(crate) fn take_trace(&self) -> Vec<String> {
        let mut trace = self.trace.take();
        for bus in &*self.buses.borrow() {
            trace.extend(bus.recent().iter().map(|event| serde_json::to_string(event).unwrap()));
        }
        trace
    }
}
