//! Looking at descriptors without sleeping.

use std::hint::spin_loop;
use std::os::fd::RawFd;
use std::time::Instant;

/// Asks again and again, until `until`, whether one of the descriptors can be read or has ended. Returns their places, or
/// nothing if the time is up.
pub fn look_for_input(fds: impl Iterator<Item = RawFd>, until: Instant) -> Vec<usize> {
    let poll = |fd| libc::pollfd { fd, events: libc::POLLIN | libc::POLLRDHUP, revents: 0 };
    let mut polled: Vec<libc::pollfd> = fds.map(poll).collect();
    loop {
        // SAFETY: the vector has as many entries as are asked for.
        let ready = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, 0) };
        if ready > 0 {
            let places = polled.iter().enumerate();
            return places.filter(|(_, fd)| fd.revents != 0).map(|(place, _)| place).collect();
        }
        if Instant::now() >= until {
            return Vec::new();
        }
        spin_loop();
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
        assert_eq!(look_for_input(fds.into_iter(), until), [1, 2]);
    }

    #[test]
    fn a_look_in_vain_ends_when_its_time_is_up() {
        let (quiet, _its_peer) = UnixStream::pair().expect("a pair");
        let until = Instant::now() + Duration::from_millis(1);
        assert!(look_for_input([quiet.as_raw_fd()].into_iter(), until).is_empty());
        assert!(Instant::now() >= until);
    }
}
