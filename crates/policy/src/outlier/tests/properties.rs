//! What holds whatever happens.

use proptest::prelude::*;

use super::*;

proptest! {
    /// Whatever happens: the cap of every zone holds, an endpoint alone is never out, the standing of the pool is
    /// what counting says, and whoever is out gets a probe in the end.
    #[test]
    fn never_too_many_and_never_for_ever(
        zones in prop::collection::vec(0u8..3, 1..8),
        calls in prop::collection::vec((0u32..8, 0u8..4, 0u64..4000, 0u8..20), 1..400),
        seed: u64,
    ) {
        let members = || zones.iter().zip(0u32..).map(|(zone, key)| Member::new(key).in_zone(zone.to_string()));
        let settings = OutlierSettings { min_requests: 3, ..OutlierSettings::default() };
        let mut rig = Rig::of(settings, members());
        rig.rng = fastrand::Rng::with_seed(seed);
        let mut failing = std::collections::BTreeSet::new();
        let mut now = Moment::ZERO;
        for (key, failure, wait_ms, other) in calls {
            now += Duration::from_millis(wait_ms);
            let key = key % zones.len() as u32;
            let failure = [Failure::None, Failure::Busy, Failure::Status, Failure::Local][failure as usize];
            match other {
                0 => {
                    let passes = failing.remove(&key) || !failing.insert(key);
                    rig.outlier.set_passing(now, &key, passes);
                }
                _ => {
                    let probe = rig.outlier.start_probe(now, &key);
                    let outcome = Outcome::new(failure, Duration::from_micros(wait_ms * 100)).of_probe(probe);
                    rig.outlier.observe(now, &key, outcome, &mut rig.rng);
                }
            }
            let out = rig.out();
            for zone in 0u8..3 {
                let there = || members().zip(&zones).filter(|(m, z)| **z == zone && !failing.contains(&m.key));
                let out = there().filter(|(m, _)| out.contains(&m.key)).count();
                prop_assert!(out <= there().count() / 2);
            }
            let passing = zones.len() - failing.len();
            let usable = (0..zones.len() as u32).filter(|key| !failing.contains(key) && !out.contains(key)).count();
            let panic = usable * 2 < zones.len();
            prop_assert_eq!(rig.outlier.is_panic(), panic);
            let pool = rig.outlier.pool(now);
            let expected = if !panic { usable } else if passing == 0 { zones.len() } else { passing };
            prop_assert_eq!(pool.usable(), expected);
            let asked = pool.iter().filter(|(_, a)| matches!(a, Admission::Full | Admission::Share(_))).count();
            let due = pool.iter().filter(|(_, a)| *a == Admission::ProbeDue).count();
            prop_assert!(asked <= expected && asked + due >= expected);
        }
        now += OutlierSettings::default().out_max;
        for key in (0..zones.len() as u32).filter(|key| !failing.contains(key)) {
            prop_assert!(rig.admission(now, key) != Admission::Out);
        }
    }

    #[test]
    fn no_time_however_strange_breaks_it(
        calls in prop::collection::vec((0u32..4, 0u8..4, any::<u64>(), any::<u64>()), 1..100),
        out_for in 1u64..1000, spread in 0u64..86_400_000_000, interval in 1u64..86_400_000,
    ) {
        let settings = OutlierSettings {
            out_for: Duration::from_millis(out_for),
            out_max: Duration::from_millis(out_for + spread),
            interval: Duration::from_millis(interval),
            slow_start: Duration::ZERO,
            min_requests: 1,
            failures: 1,
            max: Share::ALL,
            ..OutlierSettings::default()
        };
        let mut rig = Rig::with(settings, 3);
        for (key, failure, now, took) in calls {
            let now = Moment::from_nanos(now);
            let failure = [Failure::None, Failure::Busy, Failure::Status, Failure::Local][failure as usize];
            let probe = rig.outlier.start_probe(now, &key);
            let outcome = Outcome::new(failure, Duration::from_nanos(took)).of_probe(probe);
            rig.outlier.observe(now, &key, outcome, &mut rig.rng);
            prop_assert!(rig.outlier.pool(now).usable() <= 3);
        }
    }
}
