//! What the connections of one listener may hold together, and what happens beyond that limit.
//!
//! Requests that handlers work on are refused at their limit, or held back. Everything else that a peer
//! can make this side hold is checked before it is read or made: frames that are not whole, messages
//! of streams that nobody took, and replies that nobody read. Of each, a connection may always have a
//! little, [`FREE_BYTES`]; what it has beyond is taken from a share that all connections of the listener have
//! together, and while that is used up, the connection waits its turn.

use super::Worklist;
use crate::limits::{FREE_BYTES, SHARE_DIVISORS};
use crate::sync::lock;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use ttrpc::proto::MESSAGE_LENGTH_MAX;

/// What becomes of requests beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// They are answered RESOURCE_EXHAUSTED.
    Refused,
    /// They are not read: their connections wait, and so do their callers.
    HeldBack,
}

/// What is counted, besides requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes of frames that ttrpc has not read: they are not whole, or have to wait.
    Frames = 0,
    /// Messages of streams from their arrival until their handlers have taken them.
    Messages = 1,
    /// Replies, and messages of streams to the peer, until the socket has taken them.
    Replies = 2,
}

/// Connections that may resume in one round. The next follow once the cost of these is known.
const AT_ONCE: usize = 16;

/// What one listener is allowed.
#[derive(Debug, Clone, Copy)]
pub struct ListenerLimits {
    /// Requests open at once.
    pub calls: u32,
    /// Their bytes, and what the shares are parts of.
    pub bytes: u32,
    /// What becomes of requests beyond these two.
    pub excess: Excess,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Budget {
    limits: ListenerLimits,
    calls: AtomicU32,
    bytes: AtomicUsize,
    shares: [Share; 3],
    /// Connections that are not read until there is room for a request.
    held_back: Mutex<VecDeque<u32>>,
    worklist: Arc<Worklist>,
    /// Set until the engine checks the budget at the end of the turn.
    is_freed: AtomicBool,
    /// Set while the engine checks for peers that keep others waiting.
    is_contended: AtomicBool,
    itself: Weak<Self>,
}

#[derive(Debug)]
struct Share {
    limit: usize,
    used: AtomicUsize,
    /// Connections that wait for room, by their tokens, in the order in which they came.
    waiting: Mutex<VecDeque<u32>>,
}

impl Budget {
    /// A budget of which nothing is used. `worklist` hears when there is room again.
    pub fn new(limits: ListenerLimits, worklist: Arc<Worklist>) -> Arc<Self> {
        let share = |part: usize| Share {
            // There is room for one message, however small the limit.
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

    /// Why a request of this size cannot be taken, if it cannot. Where requests are held back, those
    /// that were read all the same are taken.
    pub fn refusal(&self, size: usize) -> Option<String> {
        let ListenerLimits { calls: calls_limit, bytes: bytes_limit, excess } = self.limits;
        if excess == Excess::HeldBack {
            return None;
        }
        let calls = self.calls.load(Relaxed);
        if calls >= calls_limit {
            return Some(format!("the server handles {calls} calls, its limit"));
        }
        let bytes = self.bytes.load(Relaxed);
        // A lone request passes whatever its size: ttrpc bounds that, and it could never pass later.
        let full = bytes > 0 && bytes.saturating_add(size) > bytes_limit as usize;
        full.then(|| {
            format!("the server handles requests of {bytes} bytes, near its limit of {bytes_limit}")
        })
    }

    /// Counts a request until what is returned is dropped.
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

    /// Whether requests are not to be read now.
    pub(super) fn holds_back(&self) -> bool {
        self.limits.excess == Excess::HeldBack
            && (self.calls.load(Relaxed) >= self.limits.calls
                || self.bytes.load(Relaxed) >= self.limits.bytes as usize)
    }

    /// Whether connections wait for room instead of being refused.
    pub fn waits(&self) -> bool {
        self.limits.excess == Excess::HeldBack
    }

    /// A connection waits until requests are no longer held back.
    pub(super) fn hold_back(&self, id: u32) {
        lock(&self.held_back).push_back(id);
    }

    /// A connection waits for room in a share.
    pub(super) fn wait(&self, kind: Kind, id: u32) {
        lock(&self.share(kind).waiting).push_back(id);
        if !self.is_contended.swap(true, Relaxed) {
            self.worklist.contended(self.itself.clone());
        }
    }

    /// Whether somebody waits for what others hold.
    pub fn is_contended(&self) -> bool {
        let waits = [Kind::Frames, Kind::Messages, Kind::Replies]
            .into_iter()
            .any(|kind| self.is_waited_for(kind));
        self.is_contended.store(waits, Relaxed);
        waits
    }

    /// Whether a connection waits for what others hold of a kind.
    pub fn is_waited_for(&self, kind: Kind) -> bool {
        !lock(&self.share(kind).waiting).is_empty()
    }

    /// Whether the connections together have all that they may have of a kind.
    pub fn is_full(&self, kind: Kind) -> bool {
        let share = self.share(kind);
        share.used.load(Relaxed) >= share.limit
    }

    /// Begins a round in which connections go on for which there is room.
    pub fn round(&self) -> Round<'_> {
        self.is_freed.store(false, Relaxed);
        let (calls, bytes) = (self.calls.load(Relaxed), self.bytes.load(Relaxed));
        // What each brings counts only when it is there: where there is little room, they go on one by one.
        let tight = bytes > self.limits.bytes as usize / 2;
        let held_back = match () {
            () if self.holds_back() => 0,
            () if tight => 1,
            () => AT_ONCE.min((self.limits.calls - calls) as usize),
        };
        Round { budget: self, held_back, replies: AT_ONCE }
    }

    fn share(&self, kind: Kind) -> &Share {
        &self.shares[kind as usize]
    }

    /// There is room that somebody may wait for.
    fn freed(&self) {
        if !self.is_freed.swap(true, Relaxed) {
            self.worklist.freed(self.itself.clone());
        }
    }
}

/// See [`Budget::round`].
#[derive(Debug)]
pub struct Round<'a> {
    budget: &'a Budget,
    /// How many more may go on of those that are held back, and of those that wait for replies to be read.
    held_back: usize,
    replies: usize,
}

impl Round<'_> {
    /// The next connection that may go on; it takes what room it needs before the next is asked for.
    /// `fits` says of the first that waits for the room of a frame whether there is that much.
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
    /// Those for which this round was too short have their turn in the next.
    fn drop(&mut self) {
        let budget = self.budget;
        let held_back = !budget.holds_back() && !lock(&budget.held_back).is_empty();
        if held_back || !budget.is_full(Kind::Replies) && budget.is_waited_for(Kind::Replies) {
            budget.freed();
        }
    }
}

/// A request that counts.
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

/// What one connection holds of one kind.
#[derive(Debug)]
pub struct Tally {
    held: AtomicUsize,
    /// None on a connection that no listener accepted.
    budget: Option<Arc<Budget>>,
    kind: Kind,
}

impl Tally {
    pub(super) fn new(kind: Kind, budget: Option<Arc<Budget>>) -> Self {
        Self { held: AtomicUsize::new(0), budget, kind }
    }

    /// How much that is.
    pub(super) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    pub(super) fn add(&self, bytes: usize) {
        self.set(self.held() + bytes);
    }

    pub(super) fn sub(&self, bytes: usize) {
        self.set(self.held() - bytes.min(self.held()));
    }

    /// Changes it.
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

    /// Whether there is room for so many bytes more: what no other holds can be had whatever the size.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        let Some(budget) = &self.budget else { return true };
        let (before, held) = (self.held(), self.held() + bytes);
        let share = budget.share(self.kind);
        let used = share.used.load(Relaxed);
        let more = self.beyond(held) - self.beyond(before);
        more == 0 || used + more <= share.limit || used == self.beyond(before)
    }

    /// What a connection that holds so much has of the share.
    fn beyond(&self, held: usize) -> usize {
        held.saturating_sub(FREE_BYTES[self.kind as usize])
    }

    /// Whether it has a part of the share.
    pub fn is_shared(&self) -> bool {
        self.beyond(self.held()) > 0
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.set(0);
    }
}
