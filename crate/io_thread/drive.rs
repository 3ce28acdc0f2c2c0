//! The engine turned by JavaScript's thread, while few calls are in flight.
//!
//! To hand a call to the I/O thread, to have its answer read there, and to be told of it takes three wake-ups. While the I/O
//! thread sleeps, JavaScript's thread can do the same in its place. It sends what it submits, and if answers are to be looked
//! for, it looks for them before it sleeps: it drives the engine, and the I/O thread does not heed the descriptors. If
//! JavaScript then has something else to do, the I/O thread takes over; see [`super::supervision`].

use super::IoThread;
use super::turned::Turned;
use crate::engine::Engine;
use crate::limits::{DRIVEN_BATCH, DRIVEN_CALLS};
use crate::records::{Malformed, opened_by};
use crate::sync::lock;
use std::os::fd::RawFd;
use std::time::Instant;

/// What JavaScript's thread is to do before it sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drive {
    /// To look for answers until then, and to ask again.
    LookUntil(Instant),
    /// To ask again in the next turn of the event loop: the I/O thread turns the engine.
    AskAgain,
    /// To sleep.
    Sleep,
}

impl IoThread {
    /// Carries out a batch of commands: on this thread if the I/O thread sleeps and there is little to do, otherwise as
    /// [`IoThread::submit`] does. If answers are then to be looked for, this thread drives the engine, provided that it
    /// `may_drive`. Returns whether it does.
    pub fn submit_here(&self, batch: &[u8], may_drive: bool) -> Result<bool, Malformed> {
        let is_idle = batch.len() <= DRIVEN_BATCH && lock(&self.common.queue).work.is_empty();
        let turned = if is_idle { self.common.try_turn() } else { None };
        let is_little = |engine: &Engine| engine.in_flight() + opened_by(batch) < DRIVEN_CALLS;
        let Some(mut turned) = turned.filter(|turned| is_little(&turned.engine)) else {
            return self.submit(batch).map(|()| false);
        };
        let mut result = lock(&self.common.malformed).take().map_or(Ok(()), Err);
        turned.turn(|engine| result = result.and(engine.submit(batch)));
        let mut rouses = if may_drive {
            turned.engine.looks() && self.begin_drive(&mut turned)
        } else {
            turned.looks(Instant::now())
        };
        rouses |= self.publish_here(&mut turned);
        let tells = self.common.must_tell(&mut turned, &self.events);
        let driven = turned.driven;
        // Whoever is woken would wait for the lock.
        drop(turned);
        if rouses {
            self.common.rouse();
        }
        if tells {
            (self.common.tell)();
        }
        result.map(|()| driven)
    }

    /// Begins to drive, unless this thread does already. Returns whether the I/O thread must be woken, to supervise it.
    fn begin_drive(&self, turned: &mut Turned) -> bool {
        if std::mem::replace(&mut turned.driven, true) {
            return false;
        }
        self.common.parking.heed_descriptors(false);
        turned.looked += 1;
        !turned.supervised
    }

    /// Publishes what follows from a turn on this thread, which asks then whether the process must be kept alive. Returns
    /// whether the I/O thread must be woken, because it would sleep too long.
    fn publish_here(&self, turned: &mut Turned) -> bool {
        turned.known_idle = !self.common.publish(turned);
        let now = Instant::now();
        let deadline = turned.engine.next_deadline().and_then(|after| now.checked_add(after));
        let is_earlier = deadline.is_some_and(|at| turned.wakes_at.is_none_or(|wakes| at < wakes));
        is_earlier || turned.engine.has_room()
    }

    /// What this thread is to do before it sleeps.
    pub fn drive(&self) -> Drive {
        let Some(mut turned) = self.common.try_turn() else { return Drive::AskAgain };
        if !turned.driven {
            return Drive::Sleep;
        }
        turned.looked += 1;
        match turned.engine.looks_until() {
            // A longer look would count as none.
            Some(until) => Drive::LookUntil(until.min(Instant::now() + turned.check_after / 2)),
            None => {
                self.common.heed(&mut turned);
                Drive::Sleep
            }
        }
    }

    /// A descriptor that can be read when there may be an answer.
    pub fn answers(&self) -> RawFd {
        self.common.parking.descriptor()
    }

    /// Handles what this thread has found. Unless the I/O thread does, the events are there afterwards.
    pub fn take_answers(&self) {
        let Some(mut turned) = self.common.try_turn() else { return };
        // The I/O thread meets the same error when it takes over.
        let _ = turned.poll();
        turned.turn(Engine::resume);
        let rouses = self.publish_here(&mut turned);
        drop(turned);
        if rouses {
            self.common.rouse();
        }
    }

    /// This thread has looked as long as it was told to, in vain, or was `interrupted` by others that need the processor.
    /// Returns whether the I/O thread heeds the descriptors again. If not, [`IoThread::drive`] says what to do.
    pub fn end_drive(&self, interrupted: bool) -> bool {
        let Some(mut turned) = self.common.try_turn() else { return false };
        if turned.driven {
            let until = turned.engine.looks_until();
            if !interrupted && until.is_some_and(|until| Instant::now() < until) {
                return false;
            }
            turned.turn(|engine| engine.end_look(interrupted));
            self.common.heed(&mut turned);
        }
        true
    }
}
