//! All tries of one request: pick, try, judge, wait, pick another. Ends with an answer whose body is still to be
//! passed on, or with the reason why there is none.

use std::rc::Rc;
use std::time::Duration;

use mainstay_core::Reason;
use mainstay_policy::{
    Backoff, Evidence, Failure, Outcome, Probe, Repeatable, RetryClass, RetryPermit, classify, status_may_be_retried,
};
use tokio::time::Instant;

use crate::attempt::{Answer, Deadlines, Failed, Message, Tried, attempt};
use crate::codec::{Framer, Framing};
use crate::net::Net;
use crate::shard::Shard;
use crate::snapshot::{Retries, Timeouts};
use crate::timer::Timer;
use crate::upload::{Upload, UploadError};
use crate::upstream::{Peer, Upstream};

/// A `Retry-After` is believed up to here.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// How all tries ended.
pub(crate) enum Exchanged<N: Net> {
    Answer(Answered<N>),
    Failed(GaveUp),
    Client(UploadError),
}

/// The answer of the last try, and who gave it.
pub(crate) struct Answered<N: Net> {
    pub(crate) answer: Answer<N::Stream>,
    pub(crate) try_: Try<N>,
    /// The answer is one that would have been tried again if the budget had allowed.
    pub(crate) budget_exhausted: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) struct GaveUp {
    pub(crate) reason: Reason,
    pub(crate) status: u16,
    pub(crate) detail: String,
    /// Some try may have reached the service.
    pub(crate) sent: bool,
    pub(crate) budget_exhausted: bool,
}

/// What may be done to get an answer.
pub(crate) struct Terms<'t> {
    pub(crate) timeouts: &'t Timeouts,
    pub(crate) retries: &'t Retries,
    pub(crate) repeatable: Repeatable,
    pub(crate) total: Duration,
    pub(crate) begun: Instant,
}

/// One try under way: it counts as in flight until it is dropped.
pub(crate) struct Try<N: Net> {
    shard: Rc<Shard<N>>,
    upstream: Rc<Upstream<N::Stream>>,
    pub(crate) peer: Rc<Peer<N::Stream>>,
    probe: Option<Probe>,
    begun: Instant,
    /// When the head of the answer came.
    answered: Instant,
}

impl<N: Net> Try<N> {
    fn begin(
        shard: &Rc<Shard<N>>,
        upstream: &Rc<Upstream<N::Stream>>,
        peer: Rc<Peer<N::Stream>>,
        probe: Option<Probe>,
        begun: Instant,
    ) -> Self {
        peer.in_flight.set(peer.in_flight.get() + 1);
        peer.counters.in_flight.add(1);
        Self { shard: shard.clone(), upstream: upstream.clone(), peer, probe, begun, answered: begun }
    }

    /// When the head of the answer came.
    pub(crate) fn answered_at(&self) -> Instant {
        self.answered
    }

    /// The head of an answer came.
    fn answered(&mut self, status: u16, retry_after: Option<Duration>) {
        let now = Instant::now();
        let moment = self.shard.moment(now);
        let took = now.saturating_duration_since(self.begun);
        self.answered = now;
        let failure = match status {
            429 => Failure::Busy,
            500.. => Failure::Status,
            _ => Failure::None,
        };
        let mut load = self.peer.load.get();
        load.observe(moment, took);
        if failure == Failure::Status {
            load.fail(moment, retry_after.unwrap_or(self.upstream.policy.balancer.failure_penalty));
        }
        self.peer.load.set(load);
        self.peer.counters.answered(status);
        self.peer.counters.latency.record(took);
        self.judge(failure, took, moment);
    }

    /// It broke before its answer was whole.
    pub(crate) fn failed(&mut self, reason: Reason) {
        let now = Instant::now();
        let moment = self.shard.moment(now);
        let mut load = self.peer.load.get();
        let took = now.saturating_duration_since(self.begun);
        load.observe(moment, took);
        load.fail(moment, self.upstream.policy.balancer.failure_penalty);
        self.peer.load.set(load);
        self.peer.counters.failed(reason);
        self.judge(Failure::Local, took, moment);
    }

    fn judge(&mut self, failure: Failure, took: Duration, now: mainstay_policy::Moment) {
        if self.upstream.policy.ejection.enabled {
            let mut rng = self.shard.rng.borrow_mut();
            let outcome = Outcome::new(failure, took).of_probe(self.probe.take());
            let (peer, bus) = (&self.peer, &self.shard.core.bus);
            self.upstream.health.observe(now, &peer.key, outcome, &peer.tally, &mut rng, bus);
        }
    }
}

impl<N: Net> Drop for Try<N> {
    fn drop(&mut self) {
        self.peer.in_flight.set(self.peer.in_flight.get() - 1);
        self.peer.counters.in_flight.sub(1);
        if let Some(probe) = self.probe.take() {
            let now = self.shard.moment(Instant::now());
            self.upstream.health.give_back(now, &self.peer.key, probe);
        }
    }
}

/// A request counts as active in the budget until it is dropped, however it ends.
struct Active<N: Net> {
    shard: Rc<Shard<N>>,
    upstream: Rc<Upstream<N::Stream>>,
    _counted: mainstay_policy::Active,
    permit: Option<RetryPermit>,
}

impl<N: Net> Active<N> {
    fn begin(shard: &Rc<Shard<N>>, upstream: &Rc<Upstream<N::Stream>>) -> Self {
        upstream.counters.in_flight.add(1);
        let counted = upstream.health.budget.begin();
        Self { shard: shard.clone(), upstream: upstream.clone(), _counted: counted, permit: None }
    }

    /// The retry that runs, if one does, has ended. What was never sent costs nothing.
    fn settle(&mut self, never_sent: bool) {
        if let Some(permit) = self.permit.take().filter(|_| never_sent) {
            permit.refund();
        }
    }

    fn withdraw(&mut self, class: RetryClass) -> bool {
        let permit = self.upstream.health.budget.try_withdraw();
        let counters = &self.upstream.counters;
        match (&permit, class) {
            (None, _) => {
                counters.retries_withheld.add(1);
                let now = self.shard.moment(Instant::now());
                self.upstream.health.budget_exhausted(now, &self.shard.core.bus);
            }
            (Some(_), RetryClass::A) => counters.retries_unsent.add(1),
            (Some(_), RetryClass::B) => counters.retries_sent.add(1),
        }
        self.permit = permit;
        self.permit.is_some()
    }
}

impl<N: Net> Drop for Active<N> {
    fn drop(&mut self) {
        self.upstream.counters.in_flight.sub(1);
    }
}

/// Tries until there is an answer or a reason. `out` gets the head for the client.
pub(crate) async fn exchange<N: Net>(
    shard: &Rc<Shard<N>>,
    upstream: &Rc<Upstream<N::Stream>>,
    terms: &Terms<'_>,
    message: &Message<'_>,
    upload: &mut Upload<'_, N::Stream>,
    timer: &mut Timer,
    out: &mut Vec<u8>,
) -> Exchanged<N> {
    let retries = terms.retries;
    let backoff = Backoff { base: retries.backoff_base, max: retries.backoff_max };
    let mut active = Active::begin(shard, upstream);
    let mut tried: Vec<Rc<Peer<N::Stream>>> = Vec::new();
    let mut sent = false;
    let mut deadlines = Deadlines {
        timeouts: terms.timeouts,
        total: terms.begun + terms.total,
        total_length: terms.total,
        begun: terms.begun,
        last: false,
    };
    for n in 0.. {
        let compiled = shard.compiled();
        // The policy is the one the request began with; the endpoints are those that are there now.
        let current = compiled.upstreams.get(&upstream.name).unwrap_or(upstream);
        // The first try begins with the request: nothing has been waited for yet.
        let begun = if n == 0 { terms.begun } else { Instant::now() };
        let picked = {
            let now = shard.moment(begun);
            current.pick(now, &tried, &mut shard.pick_room.borrow_mut(), &mut shard.rng.borrow_mut())
        };
        let Some((peer, probe)) = picked else {
            let detail = format!("no replica of {} is ready", upstream.name);
            return Exchanged::Failed(GaveUp::new(Reason::NoEndpoint, detail, sent));
        };
        let fault = shard.fault(&compiled, &upstream.name, &peer.key.replica);
        let mut try_ = Try::begin(shard, current, peer, probe, begun);
        deadlines.begun = begun;
        let may_follow = retries.enabled && n < retries.max && upload.can_rewind();
        deadlines.last = !may_follow || terms.repeatable == Repeatable::No;
        let result = attempt(shard, &try_.peer, fault, message, upload, &mut deadlines, timer, out).await;
        let (evidence, retry_after, vetoed) = match &result {
            Tried::Client(_) => (None, None, true),
            Tried::Answer(answer) => {
                sent = true;
                let after = answer.facts.retry_after_s.map(Duration::from_secs).filter(|_| answer.facts.status == 503);
                try_.answered(answer.facts.status, after);
                (Some(Evidence::Answered(answer.facts.status)), after, answer.facts.no_retry)
            }
            Tried::Failed(failed) => {
                sent |= failed.evidence == Evidence::Sent;
                match failed.status {
                    Some(status) => try_.answered(status, None),
                    None if failed.neutral => try_.peer.counters.failed(failed.reason),
                    None => try_.failed(failed.reason),
                }
                (Some(failed.evidence), None, false)
            }
        };
        active.settle(evidence == Some(Evidence::NeverSent));
        let class = evidence.and_then(|e| classify(e, terms.repeatable).ok());
        let may_follow = retries.enabled && n < retries.max && upload.can_rewind() && !vetoed;
        let (mut again, mut wait) = (class.filter(|_| may_follow), Duration::ZERO);
        if again.is_some() {
            let mut rng = shard.rng.borrow_mut();
            wait = backoff.delay(n, &mut rng);
            if let Some(after) = retry_after {
                wait = wait.max(after.min(RETRY_AFTER_MAX)).mul_f64(1.0 + 0.5 * rng.f64());
            }
            if Instant::now() + wait >= deadlines.total {
                again = None;
            }
        }
        let exhausted = match again {
            Some(class) => !active.withdraw(class),
            None => false,
        };
        if again.is_none() || exhausted {
            return match result {
                Tried::Answer(answer) => Exchanged::Answer(Answered { answer, try_, budget_exhausted: exhausted }),
                Tried::Client(error) => Exchanged::Client(error),
                Tried::Failed(failed) => Exchanged::Failed(GaveUp::after(failed, sent, exhausted)),
            };
        }
        let neutral = matches!(&result, Tried::Failed(f) if f.neutral);
        if let Tried::Answer(answer) = result {
            recycle(shard, &try_, answer, upload.is_sent());
        }
        if !neutral {
            tried.push(try_.peer.clone());
        }
        drop(try_);
        upload.rewind();
        if !neutral {
            tokio::time::sleep(wait).await;
        }
    }
    unreachable!("the loop ends by returning")
}

/// Keeps the connection of an answer that nobody wants, if all of the answer is here.
fn recycle<N: Net>(shard: &Shard<N>, try_: &Try<N>, mut answer: Answer<N::Stream>, request_sent: bool) {
    let mut framer = Framer::new(answer.facts.framing);
    let len = answer.buf.len();
    let whole = framer.advance(answer.buf.unread()) == Ok(len) && framer.is_done();
    answer.buf.consume(len);
    shard.buffers.take_back(&mut answer.buf);
    if whole && request_sent && answer.facts.keep_alive && answer.facts.framing != Framing::Close {
        try_.peer.check_in(answer.stream, Instant::now());
    }
}

impl GaveUp {
    fn new(reason: Reason, detail: String, sent: bool) -> Self {
        Self { reason, status: reason.status(), detail, sent, budget_exhausted: false }
    }

    fn after(failed: Failed, sent: bool, exhausted: bool) -> Self {
        let Failed { reason, detail, status, .. } = failed;
        if exhausted {
            let detail = format!("{detail}; the budget for retries is used up");
            return Self { budget_exhausted: true, ..Self::new(Reason::RetryBudget, detail, sent) };
        }
        let mut gave_up = Self::new(reason, detail, sent);
        if let Some(status) = status {
            gave_up.status = status;
            gave_up.sent = sent || !status_may_be_retried(status);
        }
        gave_up
    }
}
