//! What the connections of one listener may hold together, and how they wait for room.
//!
//! Requests in handlers are refused at their limit, or held back. Everything else that a peer can make this
//! side hold is checked before it is read or made: frames that are not whole, stream messages that were not
//! taken, and replies that were not read. Of each kind, a connection may always hold [`FREE_BYTES`]. Beyond,
//! it takes from a share that all connections of the listener have in common, and while the share is used up,
//! the connection waits its turn. The numbers are in [`crate::limits`].

use super::Worklist;
use crate::limits::{FREE_BYTES, SHARE_DIVISORS};
use crate::sync::lock;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use ttrpc::proto::MESSAGE_LENGTH_MAX;

/// What happens to requests beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// They are answered with RESOURCE_EXHAUSTED.
    Refused,
    /// They are not read: their connections wait, and so do their callers.
    HeldBack,
}

/// What is counted besides requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes of frames that ttrpc has not read, because they are not whole or have to wait.
    Frames = 0,
    /// Messages of streams from their arrival until their handlers have taken them.
    Messages = 1,
    /// Replies, and messages of streams to the peer, until the socket has taken them.
    Replies = 2,
}

/// Connections that may resume in one round. The next ones follow once the cost of these is known.
const AT_ONCE: usize = 16;

/// The limits of one listener.
#[derive(Debug, Clone, Copy)]
pub struct ListenerLimits {
    /// Requests in flight.
    pub calls: u32,
    /// Bytes of requests in flight. The shares are parts of it.
    pub bytes: u32,
    /// What happens to requests beyond these two limits.
    pub excess: Excess,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Budget {
    limits: ListenerLimits,
    calls: AtomicU32,
    bytes: AtomicUsize,
    shares: [Share; 3],
    /// Connections that are not read until there is room for a request, in order.
    held_back: Mutex<VecDeque<u32>>,
    worklist: Arc<Worklist>,
    /// Set from the time there may be room until the engine lets connections resume.
    is_freed: AtomicBool,
    /// Set while the engine checks for peers that keep others waiting.
    is_contended: AtomicBool,
    itself: Weak<Self>,
}

#[derive(Debug)]
struct Share {
    limit: usize,
    used: AtomicUsize,
    /// Connections that wait for room, in order.
    waiting: Mutex<VecDeque<u32>>,
}

impl Budget {
    /// An unused budget. It reports to `worklist` when there may be room again.
    pub fn new(limits: ListenerLimits, worklist: Arc<Worklist>) -> Arc<Self> {
        let share = |part: usize| Share {
            // There is room for one message, however small the limit is.
            limit: (limits.bytes as usize / part).max(MESSAGE_LENGTH_MAX),
            used: AtomicUsize::new(0),
            waiting: Mutex::default(),
        };
        Arc::new_cyclic(|itself| Self {
            limits,
            calls: AtomicU32::new(0),
            bytes: AtomicUsize::new(0),
            shares: SHARE_DIVISORS.map(share),
            held_back: Mutex::default(),
            worklist,
            is_freed: AtomicBool::new(false),
            is_contended: AtomicBool::new(false),
            itself: itself.clone(),
        })
    }

    /// Why a request of this size is refused, if it is. If requests are held back, one that was read
    /// nevertheless is not refused.
    pub fn refusal(&self, size: usize) -> Option<String> {
        let ListenerLimits { calls: calls_limit, bytes: bytes_limit, excess } = self.limits;
        if excess == Excess::HeldBack {
            return None;
        }
        let calls = self.calls.load(Relaxed);
        if calls >= calls_limit {
            return Some(format!("the server already handles {calls} calls, which is its limit"));
        }
        let bytes = self.bytes.load(Relaxed);
        // A request that is alone passes, whatever its size: ttrpc bounds that, and it could never pass
        // later.
        let full = bytes > 0 && bytes.saturating_add(size) > bytes_limit as usize;
        full.then(|| {
            format!("the server already handles requests of {bytes} bytes, and its limit is {bytes_limit}")
        })
    }

    /// Counts a request until the charge is dropped.
    pub fn enter(self: &Arc<Self>, size: usize) -> Charge {
        self.calls.fetch_add(1, Relaxed);
        self.bytes.fetch_add(size, Relaxed);
        Charge { budget: self.clone(), size }
    }

    fn leave(&self, size: usize) {
        self.calls.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(size, Relaxed);
        if self.limits.excess == Excess::HeldBack && !lock(&self.held_back).is_empty() {
            self.freed();
        }
    }

    /// Whether requests are held back now.
    pub(super) fn holds_back(&self) -> bool {
        self.limits.excess == Excess::HeldBack
            && (self.calls.load(Relaxed) >= self.limits.calls
                || self.bytes.load(Relaxed) >= self.limits.bytes as usize)
    }

    /// Whether requests beyond the limit are held back instead of refused.
    pub fn waits(&self) -> bool {
        self.limits.excess == Excess::HeldBack
    }

    /// Makes a connection wait until requests are no longer held back.
    pub(super) fn hold_back(&self, id: u32) {
        lock(&self.held_back).push_back(id);
    }

    /// Makes a connection wait for room in a share.
    pub(super) fn wait(&self, kind: Kind, id: u32) {
        lock(&self.share(kind).waiting).push_back(id);
        if !self.is_contended.swap(true, Relaxed) {
            self.worklist.contended(self.itself.clone());
        }
    }

    /// Whether a connection waits for room that others hold.
    pub fn is_contended(&self) -> bool {
        let waits = [Kind::Frames, Kind::Messages, Kind::Replies]
            .into_iter()
            .any(|kind| self.is_waited_for(kind));
        self.is_contended.store(waits, Relaxed);
        waits
    }

    /// Whether a connection waits for room in the share of a kind.
    pub fn is_waited_for(&self, kind: Kind) -> bool {
        !lock(&self.share(kind).waiting).is_empty()
    }

    /// Whether the share of a kind is used up.
    pub fn is_full(&self, kind: Kind) -> bool {
        let share = self.share(kind);
        share.used.load(Relaxed) >= share.limit
    }

    /// Begins a round in which connections resume for which there is room.
    pub fn round(&self) -> Round<'_> {
        self.is_freed.store(false, Relaxed);
        let (calls, bytes) = (self.calls.load(Relaxed), self.bytes.load(Relaxed));
        // A request counts only once it has been read, so connections resume one by one when there is little
        // room.
        let tight = bytes > self.limits.bytes as usize / 2;
        let held_back = match () {
            () if self.holds_back() => 0,
            () if tight => 1,
            () => AT_ONCE.min((self.limits.calls - calls) as usize),
        };
        Round { budget: self, held_back, replies: AT_ONCE }
    }

    /// Whether nothing is counted.
    #[cfg(test)]
    pub fn is_unused(&self) -> bool {
        let shares = self.shares.iter().all(|share| share.used.load(Relaxed) == 0);
        shares && self.calls.load(Relaxed) == 0 && self.bytes.load(Relaxed) == 0
    }

    fn share(&self, kind: Kind) -> &Share {
        &self.shares[kind as usize]
    }

    /// Reports that there may be room for a connection that waits.
    fn freed(&self) {
        if !self.is_freed.swap(true, Relaxed) {
            self.worklist.freed(self.itself.clone());
        }
    }
}

/// A round in which connections resume; see [`Budget::round`].
#[derive(Debug)]
pub struct Round<'a> {
    budget: &'a Budget,
    /// How many more connections may resume of those that are held back, and of those that wait for replies
    /// to be read.
    held_back: usize,
    replies: usize,
}

impl Round<'_> {
    /// The next connection that may resume. It must take its room before the next is asked for. `fits` tells
    /// whether there is room for the frame of the connection that has waited longest for it.
    pub fn next(&mut self, fits: impl Fn(u32) -> bool) -> Option<u32> {
        let Self { budget, held_back, replies } = self;
        if *held_back > 0
            && let Some(id) = lock(&budget.held_back).pop_front()
        {
            *held_back -= 1;
            return Some(id);
        }
        if *replies > 0
            && !budget.is_full(Kind::Replies)
            && let Some(id) = lock(&budget.share(Kind::Replies).waiting).pop_front()
        {
            *replies -= 1;
            return Some(id);
        }
        [Kind::Frames, Kind::Messages].into_iter().find_map(|kind| {
            let mut waiting = lock(&budget.share(kind).waiting);
            let first = *waiting.front()?;
            if fits(first) { waiting.pop_front() } else { None }
        })
    }
}

impl Drop for Round<'_> {
    /// Connections that this round did not reach resume in the next.
    fn drop(&mut self) {
        let budget = self.budget;
        let held_back = !budget.holds_back() && !lock(&budget.held_back).is_empty();
        if held_back || !budget.is_full(Kind::Replies) && budget.is_waited_for(Kind::Replies) {
            budget.freed();
        }
    }
}

/// A request's part of the budget. Dropping it frees the room.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    size: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.leave(self.size);
    }
}

/// How many bytes of one kind one connection holds.
#[derive(Debug)]
pub struct Tally {
    held: AtomicUsize,
    /// `None` on a connection that no listener accepted.
    budget: Option<Arc<Budget>>,
    kind: Kind,
}

impl Tally {
    pub(super) fn new(kind: Kind, budget: Option<Arc<Budget>>) -> Self {
        Self { held: AtomicUsize::new(0), budget, kind }
    }

    /// The bytes that are held.
    pub(super) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    pub(super) fn add(&self, bytes: usize) {
        self.set(self.held() + bytes);
    }

    pub(super) fn sub(&self, bytes: usize) {
        self.set(self.held() - bytes.min(self.held()));
    }

    /// Changes the bytes that are held.
    pub(super) fn set(&self, held: usize) {
        let before = self.held.swap(held, Relaxed);
        let Some(budget) = &self.budget else { return };
        let (before, now) = (self.beyond(before), self.beyond(held));
        let share = budget.share(self.kind);
        if now > before {
            share.used.fetch_add(now - before, Relaxed);
        } else if now < before {
            share.used.fetch_sub(before - now, Relaxed);
            if !lock(&share.waiting).is_empty() {
                budget.freed();
            }
        }
    }

    /// Whether there is room for this many bytes more. A connection that alone uses the share may exceed it,
    /// whatever the size.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        let Some(budget) = &self.budget else { return true };
        let (before, held) = (self.held(), self.held() + bytes);
        let share = budget.share(self.kind);
        let used = share.used.load(Relaxed);
        let more = self.beyond(held) - self.beyond(before);
        more == 0 || used + more <= share.limit || used == self.beyond(before)
    }

    /// How much of `held` comes from the share.
    fn beyond(&self, held: usize) -> usize {
        held.saturating_sub(FREE_BYTES[self.kind as usize])
    }

    /// Whether the connection uses a part of the share.
    pub fn is_shared(&self) -> bool {
        self.beyond(self.held()) > 0
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.set(0);
    }
}
