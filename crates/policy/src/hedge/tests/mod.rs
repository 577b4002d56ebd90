//! A service that does as it is told, and what was seen of its calls.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tower::{Layer, Service, ServiceExt};

use super::{Hedge, HedgeLayer, HedgeService, HedgeSettings};
use crate::observe::PolicyKind;
use crate::{
    CallContext, Clock, Env, Error, Event, Judge, Mode, Observer, Profile, Reason, Rejection, Repeatable, Share,
    Verdict,
};

mod calls;
mod rules;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Hears what is told.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<Event>>);

impl Observer for Heard {
    fn event(&self, _name: &str, policy: PolicyKind, event: &Event) {
        assert_eq!(policy, PolicyKind::Hedge);
        self.0.lock().unwrap().push(event.clone());
    }
}

/// A request that carries what is said of it.
#[derive(Debug, Clone, Copy)]
struct Ask {
    context: CallContext,
    repeatable: Repeatable,
    duplicable: bool,
}

/// One that may be doubled.
fn safe() -> Ask {
    let context = CallContext { tenant: 7, ..CallContext::default() };
    Ask { context, repeatable: Repeatable::ByMethod, duplicable: true }
}

#[derive(Debug, Clone, Copy)]
struct Told;

impl Profile<Ask> for Told {
    fn repeatable(&self, request: &Ask) -> Repeatable {
        request.repeatable
    }
    fn duplicate(&self, request: &Ask) -> Option<Ask> {
        request.duplicable.then_some(*request)
    }
    fn context(&self, request: &Ask) -> CallContext {
        request.context
    }
    fn stamp(&self, request: &mut Ask, context: &CallContext) {
        request.context = *context;
    }
}

/// Zero is no good answer.
#[derive(Debug, Clone, Copy)]
struct NotZero;

impl Judge<u32, Error<Infallible>> for NotZero {
    fn judge(&self, outcome: Result<&u32, &Error<Infallible>>) -> Verdict {
        if outcome == Ok(&0) { Verdict::FAILED } else { Verdict::GOOD }
    }
}

/// After how long a copy is answered, and how. 0 is a failure.
#[derive(Debug, Clone, Copy)]
struct Plan(u64, u32);

const HANGS: Plan = Plan(1_000_000, 0);

#[derive(Debug, Default)]
struct Seen {
    contexts: Mutex<Vec<CallContext>>,
    live: AtomicUsize,
    clones: AtomicUsize,
}

/// Answers first copies by one plan, and second ones by another.
#[derive(Debug)]
struct Scripted {
    first: Plan,
    second: Plan,
    /// A clone is ready after so long. What was there from the start is ready at once.
    ready_after: Option<Duration>,
    readying: Option<Pin<Box<tokio::time::Sleep>>>,
    broken: bool,
    seen: Arc<Seen>,
}

impl Clone for Scripted {
    fn clone(&self) -> Self {
        self.seen.clones.fetch_add(1, Ordering::Relaxed);
        // The layer's own template is the first clone, and is never called.
        Self { readying: None, seen: self.seen.clone(), ..*self }
    }
}

/// A call that runs.
struct Live(Arc<Seen>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
    }
}

type Outcome = Result<u32, Error<Infallible>>;

impl Service<Ask> for Scripted {
    type Response = u32;
    type Error = Error<Infallible>;
    type Future = Pin<Box<dyn Future<Output = Outcome> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.broken && self.seen.live.load(Ordering::Relaxed) > 0 {
            return Poll::Ready(Err(Error::Rejected(Rejection::unsent(Reason::BulkheadFull))));
        }
        let Some(wait) = self.ready_after else { return Poll::Ready(Ok(())) };
        // The first copy's service is ready at once.
        if self.seen.live.load(Ordering::Relaxed) == 0 {
            return Poll::Ready(Ok(()));
        }
        let readying = self.readying.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
        readying.as_mut().poll(cx).map(Ok)
    }

    fn call(&mut self, request: Ask) -> Self::Future {
        self.seen.contexts.lock().unwrap().push(request.context);
        self.seen.live.fetch_add(1, Ordering::Relaxed);
        let live = Live(self.seen.clone());
        let Plan(after, answer) = if request.context.hedged { self.second } else { self.first };
        Box::pin(async move {
            let _live = live;
            tokio::time::sleep(ms(after)).await;
            Ok(answer)
        })
    }
}

/// A service that is hedged after 100 ms, without a bound.
struct Scene {
    heard: Arc<Heard>,
    seen: Arc<Seen>,
    hedge: Hedge,
    service: HedgeService<Scripted, NotZero, Told>,
}

fn settings(mode: Mode) -> HedgeSettings {
    HedgeSettings { mode, after: Some(ms(100)), budget: Share::ALL, ..HedgeSettings::default() }
}

fn scene(first: Plan, second: Plan) -> Scene {
    scene_with(settings(Mode::Enforce), first, second, |hedge| hedge, |service| service)
}

fn scene_with(
    settings: HedgeSettings,
    first: Plan,
    second: Plan,
    hedge: impl FnOnce(Hedge) -> Hedge,
    script: impl FnOnce(Scripted) -> Scripted,
) -> Scene {
    let (heard, seen) = (Arc::new(Heard::default()), Arc::new(Seen::default()));
    let env = Env::new("test").with_clock(Clock::tokio()).with_observer(heard.clone());
    let hedge = hedge(Hedge::new(settings, &env).unwrap());
    let scripted = Scripted { first, second, ready_after: None, readying: None, broken: false, seen: seen.clone() };
    let layer = HedgeLayer::new(hedge.clone()).judged_by(NotZero).profiled_by(Told);
    Scene { heard, seen, hedge, service: layer.layer(script(scripted)) }
}

impl Scene {
    /// The answer to `request`, after so many ms, and how many copies were sent.
    async fn ask(&mut self, request: Ask) -> (u32, u64, usize) {
        let began = tokio::time::Instant::now();
        let before = self.seen.contexts.lock().unwrap().len();
        let answer = self.service.ready().await.unwrap().call(request).await.unwrap();
        let sent = self.seen.contexts.lock().unwrap().len() - before;
        assert_eq!(self.seen.live.load(Ordering::Relaxed), 0, "nothing runs on");
        (answer, began.elapsed().as_millis() as u64, sent)
    }

    fn heard(&self) -> Vec<Event> {
        self.heard.0.lock().unwrap().clone()
    }

    fn live(&self) -> usize {
        self.seen.live.load(Ordering::Relaxed)
    }

    fn clones(&self) -> usize {
        self.seen.clones.load(Ordering::Relaxed)
    }
}

const SENT: Event = Event::Hedge { enforced: true };

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
