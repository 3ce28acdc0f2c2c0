//! When the peer's frames are passed on to ttrpc, and when its socket is read: only while there is room for
//! the consequences.

use super::apart::APART;
use super::budget::Kind;
use super::detached::{Prefix, STUB, Spliced};
use super::flow::Flow;
use super::frame_header;
use super::frame_reader::{Gathered, Sort, Verdict};
use super::frame_rules::NotTtrpc;
use super::receive::READ_CHUNK;
use super::wire::Wire;
use crate::limits::{FREE_BYTES, MESSAGE_COST, REPLY_LIMIT};
use crate::protocol::close_reason::{CloseKind, CloseReason};
use std::sync::atomic::Ordering;
use std::time::Instant;
use ttrpc::proto::MESSAGE_HEADER_LENGTH;

/// What a connection waits for before its next frame is passed on or its socket is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    /// JavaScript must take the events that wait.
    Events,
    /// Requests are held back.
    HeldBack,
    /// The peer must read the replies on this connection.
    Unread,
    /// Other connections must free room.
    Room(Kind),
}

impl Wire {
    /// Whether the socket, which is readable, may be read now. If not, whoever [resumes](Wire::resume) the
    /// connection reads it.
    pub fn may_receive(&self) -> bool {
        let mut flow = self.lock();
        if flow.block.is_none() && flow.closed.is_none() {
            let full = || self.budget.as_ref().is_some_and(|budget| budget.holds_back());
            let block = self.shared_obstacle().or_else(|| full().then_some(Block::HeldBack));
            if let Some(block) = block {
                self.wait_for(&mut flow, block);
            }
        }
        flow.refused = flow.block.is_some();
        if flow.refused {
            self.mark_flow(&mut flow);
        }
        !flow.refused
    }

    /// What the connection waited for may have come. Returns whether its socket must be read.
    pub fn resume(&self) -> bool {
        let mut flow = self.lock();
        flow.block = None;
        self.advance(&mut flow);
        self.count_frames(&mut flow);
        flow.wake_reader();
        self.mark_flow(&mut flow);
        flow.block.is_none() && std::mem::take(&mut flow.refused)
    }

    /// Whether the connection waits for its own replies to be read, and they have been.
    pub fn replies_read(&self) -> bool {
        let flow = self.lock();
        flow.block == Some(Block::Unread) && flow.tx.len() <= REPLY_LIMIT
    }

    /// Whether there is room for the frame that waits.
    pub fn has_room(&self) -> bool {
        let flow = self.lock();
        flow.rx.gathered().is_none_or(|gathered| self.lacking(&flow, gathered).is_none())
    }

    /// Since when the peer keeps others waiting: it has not read its replies, or has not sent the rest of a
    /// frame that was granted room.
    pub fn keeps_waiting(&self, kind: Kind) -> Option<Instant> {
        let flow = self.lock();
        match kind {
            Kind::Replies => flow.tx.stuck().filter(|_| self.replies.is_shared()),
            _ => {
                let gathered = flow.rx.gathered()?;
                flow.rx.granted.filter(|_| !gathered.is_whole && flow.block.is_none())
            }
        }
    }

    /// Bytes that may be read now.
    pub(super) fn allowance(&self, flow: &Flow) -> usize {
        if self.budget.is_none() || flow.closed.is_some() {
            return usize::MAX;
        }
        if flow.block.is_some() {
            return 0;
        }
        let there = there(flow);
        let free = FREE_BYTES[Kind::Frames as usize];
        match flow.rx.gathered() {
            Some(Gathered { .. }) if flow.rx.granted.is_some() => flow.rx.missing() + free,
            _ if self.frames.fits((there + READ_CHUNK).saturating_sub(self.frames.held())) => {
                READ_CHUNK
            }
            _ => free.saturating_sub(there),
        }
    }

    /// Advances to the next frame that ttrpc may read.
    pub(super) fn advance(&self, flow: &mut Flow) {
        if flow.block.is_some() {
            return;
        }
        loop {
            let rules = &mut flow.rules;
            match flow.rx.advance(|header| rules.plan(header)) {
                Ok(true) => {}
                Ok(false) => break,
                Err(NotTtrpc(header)) => {
                    flow.close(not_ttrpc(header));
                    break;
                }
            }
            let Some(gathered) = flow.rx.gathered() else { break };
            if !gathered.is_whole {
                self.grant(flow, gathered);
                self.gather_apart(flow, gathered);
                break;
            }
            if let Some(block) = self.obstacle(flow, gathered) {
                if flow.rules.is_server() && flow.closed.is_some() {
                    // Nobody would get the answer.
                    self.discard(flow);
                } else {
                    self.wait_for(flow, block);
                }
                break;
            }
            self.pass(flow, gathered);
        }
        let replies = flow.rules.own_replies();
        if !replies.is_empty() && flow.closed.is_none() {
            self.inject(flow, &replies);
        }
    }

    /// What a whole frame waits for before it is passed on, if anything.
    fn obstacle(&self, flow: &Flow, gathered: Gathered) -> Option<Block> {
        if let Some(block) = self.shared_obstacle() {
            return Some(block);
        }
        let budget = self.budget.as_ref()?;
        if flow.tx.len() > REPLY_LIMIT {
            Some(Block::Unread)
        } else if gathered.sort == Sort::Request && budget.holds_back() {
            Some(Block::HeldBack)
        } else if flow.rx.granted.is_none() && gathered.sort == Sort::Message {
            self.messages_lacking(gathered.frame)
        } else {
            None
        }
    }

    /// What all connections of the engine, or of the listener, wait for.
    fn shared_obstacle(&self) -> Option<Block> {
        if self.worklist.backlog.is_full() && !self.blocking {
            return Some(Block::Events);
        }
        let full = self.budget.as_ref()?.is_full(Kind::Replies);
        full.then_some(Block::Room(Kind::Replies))
    }

    fn messages_lacking(&self, frame: usize) -> Option<Block> {
        (!self.messages.fits(frame + MESSAGE_COST)).then_some(Block::Room(Kind::Messages))
    }

    /// What a frame lacks room for, unless room was granted.
    fn lacking(&self, flow: &Flow, gathered: Gathered) -> Option<Block> {
        if flow.rx.granted.is_some() {
            return None;
        }
        let messages = || (gathered.sort == Sort::Message).then_some(gathered.frame);
        let needed = gathered.frame + flow.rules.detached.arrived();
        if !gathered.is_whole && !self.frames.fits(needed.saturating_sub(self.frames.held())) {
            return Some(Block::Room(Kind::Frames));
        }
        self.messages_lacking(messages()?)
    }

    /// Grants a frame that is not whole room for all of it. Without it, no more is read than any connection
    /// may hold: half a frame is of no use, and enough halves could use up all room.
    fn grant(&self, flow: &mut Flow, gathered: Gathered) {
        let needed = gathered.frame > FREE_BYTES[Kind::Frames as usize];
        if !needed || flow.rx.granted.is_some() || self.budget.is_none() {
            return;
        }
        match self.lacking(flow, gathered) {
            Some(block) => self.wait_for(flow, block),
            None => {
                flow.rx.granted = Some(Instant::now());
                if gathered.sort == Sort::Message {
                    self.messages.add(gathered.frame);
                    flow.reserved = gathered.frame;
                }
            }
        }
    }

    /// Gathers the payload of a large frame apart, if there is room for all of it. Where requests are held back, they pass
    /// one by one, as ttrpc reads them.
    fn gather_apart(&self, flow: &mut Flow, Gathered { frame, sort, .. }: Gathered) {
        let Flow { rx, rules, .. } = flow;
        let has_room = self.budget.is_none() || rx.granted.is_some();
        let waits =
            sort == Sort::Request && self.budget.as_ref().is_some_and(|budget| budget.waits());
        if frame < APART || !has_room || waits {
            return;
        }
        if let Some(header) = rx.received.bytes().first_chunk()
            && rules.may_gather_apart(header, sort)
        {
            rx.gather_apart();
        }
    }

    fn pass(&self, flow: &mut Flow, Gathered { frame, sort, .. }: Gathered) {
        flow.rx.granted = None;
        self.messages.sub(std::mem::take(&mut flow.reserved));
        let Flow { rx, rules, .. } = flow;
        if rx.is_apart()
            && let Some((header, rest)) = rx.whole()
            && !rules.may_stay_apart(header, rest, sort)
        {
            rx.rejoin();
        }
        let apart = rx.apart_size();
        let Some((header, body)) = rx.whole() else { return };
        let id = frame_header::stream_id(header);
        match (rules.judge(header, body, apart), apart) {
            (Verdict::Pass, _) => {
                rx.rejoin();
                rx.pass(frame);
            }
            (Verdict::Refuse, _) => return rx.drop_frame(),
            (Verdict::Replace(response), None) => {
                let read = replace(header, body, &response);
                rx.pass(read);
            }
            (Verdict::Replace(response), Some(_)) => drop(rx.pass_apart(Some(&response))),
            (Verdict::Detach(field, owner), None) => {
                let payload = rx.detach(&field);
                rules.keep(id, payload, owner);
                rx.pass(frame - (field.payload.end - field.at));
            }
            (Verdict::Detach(_, owner), Some(_)) => {
                let stub = (sort == Sort::Message).then_some(&STUB[..]);
                let payload = rx.pass_apart(stub);
                rules.keep(id, payload, owner);
            }
        }
        self.worklist.backlog.passed(sort == Sort::Request, frame);
    }

    /// Drops the bytes that arrived and were not passed on.
    pub(super) fn discard(&self, flow: &mut Flow) {
        flow.rx.clear();
        flow.block = None;
        self.messages.sub(std::mem::take(&mut flow.reserved));
        self.count_frames(flow);
    }

    fn wait_for(&self, flow: &mut Flow, block: Block) {
        flow.block = Some(block);
        match (block, &self.budget) {
            (Block::Events, _) => self.worklist.wait_for_events(self.id),
            (Block::HeldBack, Some(budget)) => budget.hold_back(self.id),
            (Block::Room(kind), Some(budget)) => budget.wait(kind, self.id),
            _ => {}
        }
    }

    /// Appends whole frames to what is sent. ttrpc writes a frame in one poll of its task, so the bytes
    /// before always end with a whole frame.
    pub(super) fn inject(&self, flow: &mut Flow, frames: &[u8]) {
        flow.tx.extend(frames, &self.worklist.memory.sent);
        self.inspect_sent(flow);
    }

    /// Appends what ttrpc writes, with the payload that it did not see.
    pub(super) fn write(&self, flow: &mut Flow, frames: &[u8]) {
        let Flow { tx, rules, .. } = flow;
        let memory = &self.worklist.memory;
        match tx.is_between_frames().then(|| rules.detached.splice(frames)).flatten() {
            None => tx.extend(frames, &memory.sent),
            Some(spliced) => {
                let Spliced { front, prefix, payload, back, .. } = &spliced;
                let prefix = prefix.as_ref().map_or(&[][..], Prefix::bytes);
                let inside = if payload.len() < APART { &payload[..] } else { &[] };
                let length = front.len() + prefix.len() + inside.len() + back.len();
                let header = spliced.header(length);
                for part in [&header[..], front, prefix, inside, back] {
                    tx.extend(part, &memory.sent);
                }
                if inside.is_empty() {
                    let back = back.len();
                    self.inspect_sent(flow);
                    flow.tx.insert(spliced.payload, length, back);
                    return self.count_replies(flow);
                }
                memory.payloads.put(spliced.payload);
            }
        }
        self.inspect_sent(flow);
    }

    fn inspect_sent(&self, flow: &mut Flow) {
        let (scanner, bytes) = flow.tx.parts();
        flow.rules.outbound(scanner, bytes);
        self.count_replies(flow);
    }

    pub(super) fn count_frames(&self, flow: &mut Flow) {
        let detached = flow.rules.detached.arrived();
        let there = there(flow);
        let granted = flow.rx.granted.and_then(|_| flow.rx.gathered());
        self.frames
            .set(granted.map_or(there, |Gathered { frame, .. }| there.max(frame + detached)));
    }

    pub(super) fn count_replies(&self, flow: &Flow) {
        self.replies.set(flow.tx.len() + self.queued.load(Ordering::Relaxed));
    }

    /// Frees memory that the connection does not need between two turns.
    pub(super) fn tidy(&self, flow: &mut Flow) {
        flow.rx.recycle(&self.worklist.memory.received);
        let slack = flow.rx.slack() + flow.tx.slack();
        let may = self.worklist.memory.keeps(flow.slack, slack);
        flow.slack = if may { slack } else { 0 };
        if !may {
            flow.rx.compact(&self.worklist.memory.received);
            flow.tx.compact(&self.worklist.memory.sent);
        }
        self.count_frames(flow);
    }
}

/// Bytes that arrived and that neither ttrpc nor a handler has.
fn there(flow: &Flow) -> usize {
    flow.rx.len() + flow.rules.detached.arrived()
}

fn not_ttrpc(header: frame_header::Header) -> CloseReason {
    let text = format!("the peer sent bytes that are not a ttrpc frame: {}", header.escape_ascii());
    CloseReason { kind: CloseKind::Protocol, errno: 0, text }
}

/// Overwrites a response with a shorter one. Returns the size of its frame.
pub(super) fn replace(
    header: &mut frame_header::Header,
    body: &mut [u8],
    response: &[u8],
) -> usize {
    let Some(front) = body.get_mut(..response.len()) else { return 0 };
    front.copy_from_slice(response);
    frame_header::set_length(header, response.len() as u32);
    MESSAGE_HEADER_LENGTH + response.len()
}
