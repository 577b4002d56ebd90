//! Measuring many subjects in turns.

use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tower::Service;

/// How long to measure.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    rounds: usize,
    /// Of one subject in one round. Short against a scheduler's time slice, so that most batches meet no one else.
    batch: Duration,
    /// Rounds with two tasks: their threads must be started, so there are fewer and they are longer.
    pair_rounds: usize,
    pair_batch: Duration,
}

impl Effort {
    pub(crate) const FULL: Self =
        Self { rounds: 301, batch: Duration::from_micros(500), pair_rounds: 21, pair_batch: Duration::from_millis(20) };
    pub(crate) const QUICK: Self =
        Self { rounds: 31, batch: Duration::from_micros(200), pair_rounds: 5, pair_batch: Duration::from_millis(5) };
}

/// Makes `n` calls.
type Calls = Box<dyn FnMut(u64)>;

/// Something that can be called.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    /// What one task calls: its own clone of a service that all tasks share.
    task: Box<dyn Fn() -> Calls + Send + Sync>,
    pair: bool,
}

impl Subject {
    /// Anything.
    pub(crate) fn new(name: &'static str, task: impl Fn() -> Calls + Send + Sync + 'static) -> Self {
        Self { name, task: Box::new(task), pair: false }
    }

    /// A function that makes one call with a number.
    pub(crate) fn function<F, R>(name: &'static str, task: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: FnMut(u64) -> R + 'static,
    {
        Self::new(name, move || {
            let mut call = task();
            Box::new(move |n| {
                for request in 0..n {
                    black_box(call(black_box(request)));
                }
            })
        })
    }

    /// A Tower service. Its inner service is always ready and answers at once; where a layer makes two tasks wait for
    /// each other, the thread parks.
    pub(crate) fn service<S>(name: &'static str, service: S) -> Self
    where
        S: Service<u64> + Clone + Send + Sync + 'static,
    {
        Self::function(name, move || {
            let mut service = service.clone();
            let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
            move |request| {
                let mut cx = Context::from_waker(&waker);
                let Ok(()) = wait_for(|| service.poll_ready(&mut cx)) else { panic!("the service never fails") };
                let mut call = pin!(service.call(request));
                wait_for(|| call.as_mut().poll(&mut cx))
            }
        })
    }

    /// Measured with two tasks, too.
    pub(crate) fn in_pairs(self) -> Self {
        Self { pair: true, ..self }
    }
}

/// What was measured.
pub(crate) struct Figures {
    /// Per call, the median of all rounds.
    pub(crate) nanos: f64,
    /// The round that was disturbed least. Far below the median, the machine was busy with something else.
    pub(crate) least: f64,
    pub(crate) allocations: f64,
    /// Calls per second of two tasks on two threads, over those of one in the same round; the median.
    pub(crate) two_tasks: Option<f64>,
}

/// Ours and theirs take turns within each round, so that they meet the same machine.
pub(crate) fn measure(subjects: &[&Subject], effort: Effort, timers: &Handle) -> Vec<Figures> {
    let mut tasks: Vec<Calls> = subjects.iter().map(|subject| (subject.task)()).collect();
    let batches: Vec<u64> = tasks.iter_mut().map(|task| calls_in(task, effort.batch)).collect();
    let mut nanos = vec![Vec::with_capacity(effort.rounds); subjects.len()];
    for _ in 0..effort.rounds {
        for ((task, batch), nanos) in tasks.iter_mut().zip(&batches).zip(&mut nanos) {
            nanos.push(nanos_per_call(task, *batch));
        }
    }
    let mut pairs = vec![Vec::with_capacity(effort.pair_rounds); subjects.len()];
    for _ in 0..effort.pair_rounds {
        for (n, subject) in subjects.iter().enumerate().filter(|(_, subject)| subject.pair) {
            let factor = effort.pair_batch.div_duration_f64(effort.batch);
            pairs[n].push(two_tasks(subject, (batches[n] as f64 * factor) as u64, timers));
        }
    }
    let allocations = tasks.iter_mut().map(allocations_per_call);
    nanos
        .into_iter()
        .zip(pairs)
        .zip(allocations)
        .map(|((mut nanos, mut pairs), allocations)| Figures {
            nanos: quantile(&mut nanos, 0.5),
            least: quantile(&mut nanos, 0.0),
            allocations,
            two_tasks: (!pairs.is_empty()).then(|| quantile(&mut pairs, 0.5)),
        })
        .collect()
}

/// How many calls take about `batch`, found when the caches are warm.
fn calls_in(task: &mut Calls, batch: Duration) -> u64 {
    task(10_000);
    ((batch.as_nanos() as f64 / nanos_per_call(task, 10_000)) as u64).max(100)
}

fn nanos_per_call(task: &mut Calls, n: u64) -> f64 {
    #[expect(clippy::disallowed_methods, reason = "a bench measures the time that passes")]
    let begun = Instant::now();
    task(n);
    begun.elapsed().as_nanos() as f64 / n as f64
}

fn allocations_per_call(task: &mut Calls) -> f64 {
    const CALLS: u64 = 10_000;
    allocation_counter::measure(|| task(CALLS)).count_total as f64 / CALLS as f64
}

/// Throughput of two tasks over that of one, each on a thread of its own.
fn two_tasks(subject: &Subject, n: u64, timers: &Handle) -> f64 {
    let throughput = |threads: usize| -> f64 {
        let start = Barrier::new(threads);
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| {
                        let _inside = timers.enter();
                        let mut task = (subject.task)();
                        task(n / 10);
                        start.wait();
                        1.0 / nanos_per_call(&mut task, n)
                    })
                })
                .collect();
            all.into_iter().map(|thread| thread.join().unwrap()).sum()
        })
    };
    let one = throughput(1);
    throughput(2) / one
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[inline]
fn wait_for<T>(mut poll: impl FnMut() -> Poll<T>) -> T {
    loop {
        match poll() {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * q).round() as usize]
}

/// Keys of a keyed rate limit.
pub(crate) const KEYS: u64 = 1000;

/// The service behind all policies: does nothing, at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nothing;

/// How [`Nothing`] would fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure;

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failed")
    }
}

impl std::error::Error for Failure {}

impl Service<u64> for Nothing {
    type Response = u64;
    type Error = Failure;
    type Future = Ready<Result<u64, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(Ok(request))
    }
}
