use super::*;
use crate::{Clock, Error};
use std::convert::Infallible;
use tower::ServiceExt;

/// Requests that carry what is said of them.
#[derive(Debug, Clone, Copy)]
struct Told;

impl Profile<CallContext> for Told {
    fn context(&self, request: &CallContext) -> CallContext {
        *request
    }
    fn stamp(&self, request: &mut CallContext, context: &CallContext) {
        *request = *context;
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What the service below is told when the caller, at 100 ms, says `asked` (a moment in ms).
fn told(mode: Mode, asked: Option<u64>) -> Result<Option<u64>, Reason> {
    let (clock, hand) = Clock::manual();
    hand.advance(ms(100));
    let settings = DeadlineSettings { mode, total: ms(1000) };
    let deadline = Deadline::new(settings, &Env::new("test").with_clock(clock)).unwrap();
    let echo = tower::service_fn(|request: CallContext| async move { Ok::<_, Error<Infallible>>(request.deadline) });
    let service = DeadlineLayer::new(deadline).profiled_by(Told).layer(echo);
    let request = CallContext { deadline: asked.map(|at| Moment::from(ms(at))), ..CallContext::default() };
    let answer = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(service.oneshot(request));
    answer.map(|at| at.map(|at| at.as_nanos() / 1_000_000)).map_err(|e| e.reason().unwrap())
}

#[test]
fn the_earlier_of_what_the_caller_and_the_callee_allow() {
    assert_eq!(told(Mode::Enforce, None), Ok(Some(1100)));
    assert_eq!(told(Mode::Enforce, Some(500)), Ok(Some(500)));
    assert_eq!(told(Mode::Enforce, Some(5000)), Ok(Some(1100)));
}

#[test]
fn what_nobody_can_answer_in_time_is_not_sent() {
    for at in [0, 99, 100, 101] {
        assert_eq!(told(Mode::Enforce, Some(at)), Err(Reason::Deadline), "{at}");
    }
    assert_eq!(told(Mode::Enforce, Some(102)), Ok(Some(102)));
}

#[test]
fn in_shadow_and_when_off_all_goes_on_as_it_came() {
    for mode in [Mode::Shadow, Mode::Off] {
        for asked in [None, Some(50), Some(5000)] {
            assert_eq!(told(mode, asked), Ok(asked));
        }
    }
}

#[test]
fn a_total_that_leaves_no_time_or_overflows_is_refused() {
    for total in [Duration::ZERO, ms(1), Duration::MAX] {
        let error = DeadlineSettings { total, ..DeadlineSettings::default() }.check().unwrap_err();
        assert_eq!(error.problems()[0].field, "deadline.total");
    }
}
