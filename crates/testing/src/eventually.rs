//! Waiting for a condition instead of sleeping: the deadline only says when to give up, never how fast it must be.

use std::panic::Location;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until `condition` holds; panics at the place of the caller when it does not within `deadline`.
#[track_caller]
pub fn eventually(deadline: Duration, mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = Location::caller();
    poll(caller, deadline, async move || condition().then_some(()))
}

/// Waits until `look` finds something.
#[track_caller]
pub fn eventually_some<T>(deadline: Duration, look: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    poll(Location::caller(), deadline, look)
}

async fn poll<T>(
    caller: &'static Location<'static>,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "{caller}: the condition did not hold within {deadline:?}");
        sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_waits_and_hands_out_what_it_found() {
        let mut looks = 0;
        let found = eventually_some(Duration::from_secs(30), async || {
            looks += 1;
            (looks == 3).then_some("x")
        });
        assert_eq!(found.await, "x");
        eventually(Duration::ZERO, || true).await;
    }

    #[tokio::test]
    #[should_panic(expected = "eventually.rs")]
    async fn it_gives_up_and_names_the_place() {
        eventually(Duration::from_millis(1), || false).await;
    }
}
