//! How fast a trunk may be given calls.

use std::time::{Duration, Instant};

/// A token bucket that holds one second's worth of calls.
///
/// A trunk of 10 calls a second takes ten at once, and then one every 100 ms: who asks once a second gets all of its rate.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Tokens at that moment; `None` before the first call: full.
    bucket: Option<(f64, Instant)>,
}

impl Pace {
    /// Takes a token at `now`, or says after which time there will be one.
    pub(crate) fn take(&mut self, per_second: f64, now: Instant) -> Result<(), Duration> {
        // At least one call, however slow the trunk is.
        let room = per_second.max(1.0);
        let (tokens, at) = self.bucket.unwrap_or((room, now));
        let tokens = (tokens + now.saturating_duration_since(at).as_secs_f64() * per_second).min(room);
        let taken = if tokens + ROUNDING >= 1.0 { Ok(tokens - 1.0) } else { Err(tokens) };
        self.bucket = Some((taken.unwrap_or_else(|tokens| tokens), now));
        taken.map(|_| ()).map_err(|tokens| Duration::from_secs_f64((1.0 - tokens) / per_second))
    }
}

/// What a sum of many small times may be short by.
const ROUNDING: f64 = 1e-6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seconds_worth_may_go_at_once_and_then_the_rate_holds() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let mut taken = 0;
        for ms in 0..3000 {
            while pace.take(10.0, start + Duration::from_millis(ms)).is_ok() {
                taken += 1;
            }
            let most = 10 + ms / 100;
            assert!(taken <= most, "{taken} calls after {ms} ms");
        }
        assert_eq!(taken, 10 + 29);
    }

    #[test]
    fn whoever_waits_as_long_as_told_is_not_refused_again() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for rate in [0.1, 0.5, 3.0, 50.0] {
            for _ in 0..200 {
                if let Err(wait) = pace.take(rate, now) {
                    assert!(wait <= Duration::from_secs_f64(1.0 / rate + ROUNDING), "{wait:?}");
                    now += wait;
                    assert_eq!(pace.take(rate, now), Ok(()), "at {rate} a second, after {wait:?}");
                }
            }
        }
    }

    #[test]
    fn a_slow_trunk_takes_one_and_a_long_pause_saves_up_no_more_than_a_second() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.take(0.5, start), Ok(()));
        assert_eq!(pace.take(0.5, start), Err(Duration::from_secs(2)));
        let later = start + Duration::from_secs(3600);
        assert_eq!(pace.take(0.5, later), Ok(()));
        assert!(pace.take(0.5, later).is_err());
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_nothing() {
        let (mut pace, start) = (Pace::default(), Instant::now() + Duration::from_secs(10));
        assert_eq!(pace.take(1.0, start), Ok(()));
        assert!(pace.take(1.0, start - Duration::from_secs(5)).is_err());
    }
}
