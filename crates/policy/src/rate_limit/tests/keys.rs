use proptest::prelude::*;
use tower::{Layer, Service, ServiceExt};

use super::*;

proptest! {
    /// Keys against a bucket each, with time that runs forward: as long as there is room for all, nobody sees that
    /// keys are forgotten.
    #[test]
    fn each_key_has_its_own_bucket(
        calls in prop::collection::vec((0u32..20, 0u64..80_000_000_000), 1..200),
    ) {
        let rate = rate(1, 10 * SECOND);
        let (limit, hand) = keyed(RateLimitSettings { keys_max: 20, ..RateLimitSettings::new(rate, 3) });
        let mut model = std::collections::HashMap::new();
        let mut now = 0;
        for (key, step) in calls {
            now += step / 8;
            hand.set(Moment::from_nanos(now));
            let bucket = model.entry(key).or_insert_with(|| Bucket::new(rate, 3));
            let holds = bucket.holds(now, 0);
            prop_assert_eq!(limit.try_acquire(&key).is_ok(), holds);
            if holds {
                bucket.take();
            }
        }
        prop_assert!(limit.keys() <= 20);
    }
}

#[test]
fn no_flood_of_keys_makes_it_grow() {
    let (limit, _hand) = keyed(RateLimitSettings { keys_max: 1000, ..RateLimitSettings::new(Rate::per_second(1), 10) });
    for key in 0..100_000 {
        assert!(limit.try_acquire(&key).is_ok());
    }
    assert!((900..=1000).contains(&limit.keys()), "{}", limit.keys());
}

/// A flood of new keys pushes each other out, and not the one that has used up its limit.
#[test]
fn who_is_over_the_limit_does_not_escape_by_a_flood() {
    let (limit, _hand) = keyed(RateLimitSettings { keys_max: 1000, ..RateLimitSettings::new(Rate::per_second(1), 10) });
    while limit.try_acquire(&u32::MAX).is_ok() {}
    for key in 0..50_000 {
        assert!(limit.try_acquire(&key).is_ok());
        assert!(key % 100 != 0 || limit.try_acquire(&u32::MAX).is_err());
    }
}

#[test]
fn keys_that_rest_make_room_and_keys_that_come_again_stay() {
    let (limit, hand) =
        keyed(RateLimitSettings { keys_max: 100_000, ..RateLimitSettings::new(Rate::per_second(1), 1) });
    for minute in 0..100 {
        for key in 0..100 {
            let _ = limit.try_acquire(&(minute * 1000 + key));
            assert!(limit.try_acquire(&u32::MAX).is_ok() || key > 0);
        }
        hand.advance(90 * SECOND);
    }
    // 10,000 keys have come. Those of the last minutes are there, and few of the others.
    assert!(limit.keys() < 2000, "{}", limit.keys());
}

#[test]
fn the_same_seed_forgets_the_same_keys() {
    let run = || {
        let (limit, _hand) =
            keyed(RateLimitSettings { keys_max: 64, ..RateLimitSettings::new(Rate::per_second(1), 2) });
        (0..5000u32).map(|n| limit.try_acquire(&(n.wrapping_mul(2_654_435_761) % 200)).is_ok()).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[tokio::test]
async fn each_key_has_its_limit_and_who_has_no_key_has_none() {
    let (clock, _hand) = Clock::manual();
    let settings = RateLimitSettings::new(Rate::per_second(1), 1);
    let limit = KeyedRateLimit::<&'static str>::new(settings, &Env::new("x").with_clock(clock)).unwrap();
    let key = |request: &&'static str| (!request.is_empty()).then_some(*request);
    let mut service = KeyedRateLimitLayer::new(limit, key).layer(Counting::default());
    for (request, admitted) in [("a", true), ("a", false), ("b", true), ("", true), ("", true), ("b", false)] {
        assert_eq!(service.ready().await.unwrap().call(request).await.is_ok(), admitted, "{request}");
    }
}
