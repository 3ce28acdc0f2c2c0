//! When the JavaScript thread is woken for events: at once, or after a look for more of them.
//!
//! A peer that answers call by call wakes this thread for the first answer. If it passed that wake-up on at
//! once, the JavaScript thread would take one event and make one call, and both sides would be stuck with
//! small batches, each of which costs as much as a large one. So the thread looks for more events for a
//! moment when more can be expected.

use crate::patience::Patience;
use std::time::{Duration, Instant};

/// The longest pause between two events before JavaScript is woken. Peers take 2 to 4 µs for a call.
const PAUSE: Duration = Duration::from_micros(5);

/// The longest wait of the first event, when the next ones take long to read.
const LONGEST: Duration = Duration::from_micros(200);

/// This many events are worth a wake-up, and so are half of the calls in flight: the peer has the other half.
const ENOUGH: usize = 32;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct WakeDelay {
    round: Option<Round>,
    patience: Patience,
}

#[derive(Debug)]
struct Round {
    since: Instant,
    last: Instant,
    first_count: usize,
    count: usize,
    enough: usize,
}

impl WakeDelay {
    /// Whether to look for more events before JavaScript is woken. `count` is how many events were ever
    /// written.
    pub(super) fn should_wait(
        &mut self,
        now: Instant,
        count: usize,
        in_flight: impl FnOnce() -> usize,
    ) -> bool {
        let Some(round) = &mut self.round else { return self.begin(now, count, in_flight) };
        if round.count != count {
            round.count = count;
            round.last = now;
        }
        let more = count - round.first_count;
        if more < round.enough && now - round.last < PAUSE && now - round.since < LONGEST {
            return true;
        }
        self.round = None;
        if more > 0 {
            self.patience.paid()
        } else {
            self.patience.failed()
        }
        false
    }

    fn begin(&mut self, now: Instant, count: usize, in_flight: impl FnOnce() -> usize) -> bool {
        if !self.patience.may_try() {
            return false;
        }
        // One event waits already.
        let enough = (in_flight() / 2).min(ENOUGH).saturating_sub(1);
        if enough == 0 {
            return false;
        }
        self.round = Some(Round { since: now, last: now, first_count: count, count, enough });
        true
    }

    /// JavaScript took the events without being woken.
    pub(super) fn stop(&mut self) {
        self.round = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RARELY;

    const MOMENT: Duration = Duration::from_micros(1);

    /// Waits, one moment at a time, while `came` tells how many events there were; returns how long.
    fn looked(delay: &mut WakeDelay, in_flight: usize, came: impl Fn(u32) -> usize) -> Duration {
        let start = Instant::now();
        let mut moments = 0;
        while delay.should_wait(start + MOMENT * moments, came(moments), || in_flight) {
            moments += 1;
        }
        MOMENT * moments
    }

    #[test]
    fn the_only_call_is_told_at_once() {
        let mut delay = WakeDelay::default();
        assert_eq!(looked(&mut delay, 0, |_| 1), Duration::ZERO);
        assert_eq!(looked(&mut delay, 3, |_| 2), Duration::ZERO);
    }

    #[test]
    fn half_of_what_is_in_flight_is_enough_and_so_are_32() {
        let mut delay = WakeDelay::default();
        assert_eq!(looked(&mut delay, 16, |moments| 1 + moments as usize), MOMENT * 7);
        assert_eq!(looked(&mut delay, 1000, |moments| 9 + moments as usize), MOMENT * 31);
    }

    #[test]
    fn a_pause_ends_it() {
        let mut delay = WakeDelay::default();
        let came = |moments: u32| 1 + moments.min(10) as usize;
        assert_eq!(looked(&mut delay, 64, came), MOMENT * 10 + PAUSE);
    }

    #[test]
    fn what_takes_long_to_read_does_not_make_the_first_wait_for_half() {
        let mut delay = WakeDelay::default();
        let start = Instant::now();
        let mut count = 0;
        while delay.should_wait(start + 20 * MOMENT * count, count as usize, || 1000) {
            count += 1;
        }
        assert_eq!(20 * MOMENT * count, LONGEST);
    }

    #[test]
    fn looks_in_vain_become_rare_and_one_that_pays_brings_them_back() {
        let mut delay = WakeDelay::default();
        let mut look = |came: fn(u32) -> usize| looked(&mut delay, 64, came) > Duration::ZERO;
        let tried = (0..1000).filter(|_| look(|_| 1)).count();
        assert!((15..25).contains(&tried), "{tried}");
        assert!((0..=RARELY).any(|_| look(|moments| 1 + moments as usize)));
        assert!(look(|_| 1));
    }
}
