//! One run: builds the simulated machines, hurts them, heals them, and has the result judged.

use std::cell::{Cell, RefCell};
use std::ops::AddAssign;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Once;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainstay_core::EventKind;
use mainstay_txn::{Filter, Journal as _, Status, Stored};
use turmoil::{Builder, Sim};

use crate::client::{shopper, watcher};
use crate::faults::Faults;
use crate::host::{MAINSTAY, mainstay};
use crate::oracle::{Rule, Violation, judge};
use crate::shop::Replica;
use crate::world::World;

/// How long the faults go on.
const HURT: Duration = Duration::from_secs(15);
/// How long healing may take: the longest back-off of the engine, twice, and some.
const SETTLE_MAX: Duration = Duration::from_secs(90);
/// How far time goes in one step.
const TICK: Duration = Duration::from_millis(2);
/// Each of three services has as many.
const REPLICAS: u16 = 2;
const SHOPPERS: u16 = 3;

/// A protection that is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    None,
    /// Every try has a new idempotency key.
    FreshKeys,
    /// What was open is not taken up again.
    NoRecovery,
    /// Participants let a late action through after its undo.
    NoBarrier,
}

/// What came of a run.
pub(crate) struct Run {
    pub(crate) trace: Vec<String>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) facts: Facts,
}

/// What a run had in it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Facts {
    pub(crate) committed: u64,
    pub(crate) rolled_back: u64,
    /// Transactions that a later process of Mainstay took up.
    pub(crate) recovered: u64,
    pub(crate) ejections: u64,
    pub(crate) unanswered: u64,
    /// Actions that a participant had done before.
    pub(crate) replayed: u64,
}

impl AddAssign for Facts {
    fn add_assign(&mut self, other: Self) {
        self.committed += other.committed;
        self.rolled_back += other.rolled_back;
        self.recovered += other.recovered;
        self.ejections += other.ejections;
        self.unanswered += other.unanswered;
        self.replayed += other.replayed;
    }
}

pub(crate) fn run(seed: u64, mutation: Mutation) -> Run {
    count_panics();
    let panics_before = PANICS.get();
    let mut rng = fastrand::Rng::with_seed(seed);
    let world = World::new(seed, mutation);
    let latency_max = Duration::from_millis(rng.u64(4..60));
    let mut sim = Builder::new()
        .rng_seed(rng.u64(..))
        .simulation_duration(HURT + SETTLE_MAX + Duration::from_secs(1))
        .tick_duration(TICK)
        .tcp_capacity(1024)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(latency_max)
        .build();
    let mut faults = build(&mut sim, &world, latency_max, &mut rng);
    let ended = simulate(&mut sim, &world, &mut faults);

    let rows = journal(&world);
    let mut violations = judge(&world, &rows);
    if let Err(why) = ended {
        violations.push(Violation::of(Rule::Heals, why));
    }
    if PANICS.get() > panics_before {
        violations.push(Violation::of(Rule::NoPanic, "something panicked, see above"));
    }
    let facts = facts(&world, &rows);
    for row in rows {
        world.note_at(sim.elapsed(), "journal", format_args!("{row:?}"));
    }
    Run { trace: world.take_trace(), violations, facts }
}

fn build(sim: &mut Sim<'_>, world: &Rc<World>, latency_max: Duration, rng: &mut fastrand::Rng) -> Faults {
    let mut replicas = Vec::new();
    for service in ["order", "inventory", "payment"] {
        for index in 1..=REPLICAS {
            let name = format!("{service}-{index}");
            let rng = RefCell::new(rng.fork());
            let replica = Rc::new(Replica { name: name.clone(), service, world: world.clone(), rng });
            sim.host(name.as_str(), move || replica.clone().serve());
            replicas.push(name);
        }
    }
    let of_host = world.clone();
    sim.host(MAINSTAY, move || mainstay(of_host.clone()));
    let mut shoppers = Vec::new();
    for index in 1..=SHOPPERS {
        let name = format!("shopper-{index}");
        sim.client(name.as_str(), shopper(world.clone(), name.clone(), HURT, rng.fork()));
        shoppers.push(name);
    }
    sim.client("watcher", watcher(world.clone()));
    let faults = Faults::draw(world.clone(), replicas, shoppers, HURT, latency_max, rng);
    faults.publish(sim);
    faults
}

/// Both phases; an error says what did not come to its end.
fn simulate(sim: &mut Sim<'_>, world: &World, faults: &mut Faults) -> Result<(), String> {
    while sim.elapsed() < HURT {
        faults.apply(sim);
        sim.step().map_err(|e| e.to_string())?;
    }
    faults.heal(sim);
    world.hurting.set(false);
    while sim.elapsed() < HURT + SETTLE_MAX {
        if sim.step().map_err(|e| e.to_string())? {
            return Ok(());
        }
    }
    Err(format!("a client still waits {SETTLE_MAX:?} after the last fault"))
}

fn journal(world: &World) -> Vec<Stored> {
    let listed = pin!(world.journal.list(Filter::default(), usize::MAX, None));
    // A journal in memory answers at once.
    match listed.get_mut().as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(rows) => rows.unwrap().rows,
        Poll::Pending => panic!("the journal in memory waits"),
    }
}

fn facts(world: &World, rows: &[Stored]) -> Facts {
    let ended = |status| rows.iter().filter(|row| row.status == status).count() as u64;
    let mut facts = Facts {
        committed: ended(Status::Committed),
        rolled_back: ended(Status::RolledBack),
        unanswered: world.unanswered.get(),
        replayed: world.ledgers.values().map(|ledger| ledger.borrow().replayed).sum(),
        ..Facts::default()
    };
    for event in world.buses.borrow().iter().flat_map(mainstay_core::EventBus::recent) {
        match &event.kind {
            EventKind::TransactionsRecovered { count } => facts.recovered += *count,
            EventKind::EndpointEjected { .. } => facts.ejections += 1,
            _ => {}
        }
    }
    facts
}

thread_local!(static PANICS: Cell<u64> = const { Cell::new(0) });

/// A panic in a task of a simulated host ends that task only: it is counted, so that it does not go unseen.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
}
