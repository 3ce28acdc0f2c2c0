//! Looking at descriptors without sleeping.

use std::os::fd::RawFd;
use std::thread::yield_now;
use std::time::{Duration, Instant};

/// If this much time passes between two questions, another thread must have had this one's processor.
const INTERRUPTION: Duration = Duration::from_micros(40);

/// What a look has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The places of the descriptors that can be read or have ended. There are none if the look was in vain.
    pub places: Vec<usize>,
    /// Another thread had the processor meanwhile. If nothing was found, that was not the peer, but others that need it.
    pub interrupted: bool,
}

/// Asks again and again, until `until`, whether one of the descriptors can be read or has ended. The look also ends when
/// `others`, an epoll descriptor, has anything ready. Other threads that need the processor have it in between, and the look
/// ends early.
pub fn look_for_input(
    fds: impl Iterator<Item = RawFd>,
    others: Option<RawFd>,
    until: Instant,
) -> Found {
    let poll = |fd| libc::pollfd { fd, events: libc::POLLIN | libc::POLLRDHUP, revents: 0 };
    let mut polled: Vec<libc::pollfd> = fds.map(poll).collect();
    let own = polled.len();
    polled.extend(others.map(poll));
    let ask = || {
        // SAFETY: the vector has as many entries as are asked for.
        unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, 0) > 0 }
    };
    let interrupted = ask_until(until, ask, Instant::now);
    let ready = polled[..own].iter().enumerate().filter(|(_, fd)| fd.revents != 0);
    Found { places: ready.map(|(place, _)| place).collect(), interrupted }
}

/// Asks until something is there, `until` has come, or another thread had the processor, which it returns.
fn ask_until(
    until: Instant,
    mut ask: impl FnMut() -> bool,
    mut clock: impl FnMut() -> Instant,
) -> bool {
    let mut asked: Option<Instant> = None;
    loop {
        let is_there = ask();
        let now = clock();
        let interrupted = asked.is_some_and(|before| now - before > INTERRUPTION);
        if is_there || now >= until || interrupted {
            return interrupted;
        }
        asked = Some(now);
        yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    #[test]
    fn the_descriptors_that_can_be_read_are_found_by_their_places() {
        let (quiet, _its_peer) = UnixStream::pair().expect("a pair");
        let (read, mut write) = UnixStream::pair().expect("a pair");
        let (ended, its_peer) = UnixStream::pair().expect("a pair");
        write.write_all(b"x").expect("room");
        drop(its_peer);
        let fds = [&quiet, &read, &ended].map(|stream| stream.as_raw_fd());
        let until = Instant::now() + Duration::from_secs(60);
        assert_eq!(look_for_input(fds.into_iter(), None, until).places, [1, 2]);
    }

    #[test]
    fn others_end_a_look_and_are_not_found() {
        let (quiet, _its_peer) = UnixStream::pair().expect("a pair");
        let (other, mut write) = UnixStream::pair().expect("a pair");
        write.write_all(b"x").expect("room");
        let until = Instant::now() + Duration::from_secs(60);
        let found = look_for_input([quiet.as_raw_fd()].into_iter(), Some(other.as_raw_fd()), until);
        assert_eq!(found, Found::default());
    }

    /// How often it was asked until a look of a millisecond ended, and whether it was interrupted, if the questions are so
    /// many microseconds apart and the one with that number finds something.
    fn asked(apart: &[u64], found: Option<usize>) -> (usize, bool) {
        let start = Instant::now();
        let (mut count, mut passed, mut apart) = (0, Duration::ZERO, apart.iter());
        let ask = || {
            count += 1;
            Some(count) == found
        };
        let clock = || {
            passed += Duration::from_micros(*apart.next().unwrap_or(&10));
            start + passed
        };
        let interrupted = ask_until(start + Duration::from_millis(1), ask, clock);
        (count, interrupted)
    }

    #[test]
    fn a_look_ends_when_another_thread_had_the_processor() {
        assert_eq!(asked(&[10, 40, 41], None), (3, true));
    }

    #[test]
    fn a_look_that_finds_something_after_that_tells_both() {
        assert_eq!(asked(&[10, 500], Some(2)), (2, true));
        assert_eq!(asked(&[10, 10], Some(2)), (2, false));
    }

    #[test]
    fn how_long_the_first_question_takes_does_not_matter() {
        assert_eq!(asked(&[500], Some(3)), (3, false));
    }

    #[test]
    fn a_look_in_vain_ends_when_its_time_is_up() {
        let (quiet, _its_peer) = UnixStream::pair().expect("a pair");
        let until = Instant::now() + Duration::from_millis(1);
        let found = look_for_input([quiet.as_raw_fd()].into_iter(), None, until);
        assert!(found.places.is_empty());
        assert!(found.interrupted || Instant::now() >= until);
        assert_eq!(asked(&[], None), (100, false));
    }
}
