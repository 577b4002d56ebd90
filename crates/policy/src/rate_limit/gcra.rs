//! The arithmetic: when may the next one come?

use std::time::Duration;

use crate::{Moment, Rate};

/// Ticks per nanosecond are a fixed-point number with so many bits behind the point. It is below 4.3 (at the highest
/// rate that settings allow), which leaves three bits before the point. A clock's reading in ticks is then too low by
/// less than 1 + nanoseconds/2⁶¹ ticks: less than two, for 73 years.
const FRACTION_BITS: u32 = 61;
/// Nanoseconds per tick are a number of at most 1. Spans of time in ticks are below 2⁵⁸, so they come out at most two
/// nanoseconds too long, and never too short.
const SPAN_BITS: u32 = 63;
/// Time stands still here, after 68 years at the highest rate, so that sums of what is below never overflow.
const TICKS_MAX: u64 = 1 << 63;
/// A step back of the clock that is longer than this is a clock that was set anew.
const STEP_BACK_MAX: Duration = Duration::from_secs(1);

/// What a limit has left.
///
/// For the `RateLimit` header fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Requests at once after a rest.
    pub limit: u32,
    /// Requests that would be admitted now.
    pub remaining: u32,
    /// After which time `remaining` is `limit` again, if nobody comes.
    pub reset: Duration,
}

/// A rate and a burst, in ticks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gcra {
    burst: u32,
    /// What a request costs.
    cost: u64,
    /// What the whole burst costs.
    window: u64,
    /// How far ahead of now an arrival time cannot be unless the clock was set back.
    lost: u64,
    /// Ticks per nanosecond, times 2^FRACTION_BITS.
    pace: u64,
    /// Nanoseconds per tick, times 2^SPAN_BITS, rounded up.
    span: u64,
}

/// Turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    /// When the next one would be admitted.
    pub(super) wait: Duration,
    /// What the arrival time must become, because the clock was set back.
    pub(super) reset: Option<u64>,
}

impl Gcra {
    /// Of settings that were checked.
    pub(super) fn new(rate: Rate, burst: u32) -> Self {
        let (count, per) = (u128::from(rate.count), rate.per.as_nanos());
        let cost = per.div_ceil(count);
        let pace = ((cost * count) << FRACTION_BITS) / per;
        let narrow = |wide| u64::try_from(wide).expect("settings that were checked fit");
        let mut gcra = Self {
            burst,
            cost: narrow(cost),
            window: narrow(cost * u128::from(burst)),
            lost: 0,
            pace: narrow(pace),
            span: narrow((1u128 << (SPAN_BITS + FRACTION_BITS)).div_ceil(pace)),
        };
        gcra.lost = gcra.window + gcra.ticks(Moment::ZERO + STEP_BACK_MAX);
        gcra
    }

    /// The clock's reading.
    #[inline]
    pub(super) fn ticks(&self, now: Moment) -> u64 {
        let ticks = (u128::from(now.as_nanos()) * u128::from(self.pace)) >> FRACTION_BITS;
        u64::try_from(ticks).unwrap_or(TICKS_MAX).min(TICKS_MAX)
    }

    /// The arrival time after one more request now; `None` if it must not come yet.
    #[inline]
    pub(super) fn admit(&self, arrival: u64, now: u64) -> Option<u64> {
        let next = arrival.max(now) + self.cost;
        (next <= now + self.window).then_some(next)
    }

    /// What to say to a request that must not come yet.
    #[cold]
    pub(super) fn refuse(&self, arrival: u64, now: u64) -> Refused {
        let reset = (arrival > now + self.lost).then_some(now + self.window);
        let next = reset.unwrap_or(arrival) + self.cost;
        Refused { wait: self.duration(next.saturating_sub(now + self.window)), reset }
    }

    /// What is left.
    pub(super) fn quota(&self, arrival: u64, now: u64) -> Quota {
        // Above the window only where the clock was set back.
        let taken = arrival.saturating_sub(now).min(self.window);
        let remaining = (self.window - taken) / self.cost;
        Quota {
            limit: self.burst,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset: self.duration(taken),
        }
    }

    /// How long it takes until the clock reads so many ticks more.
    fn duration(&self, ticks: u64) -> Duration {
        if ticks == 0 {
            return Duration::ZERO;
        }
        // Below 2⁶⁴: so many ticks are never shorter than a nanosecond each.
        Duration::from_nanos(((u128::from(ticks) * u128::from(self.span)) >> SPAN_BITS) as u64 + 1)
    }
}
