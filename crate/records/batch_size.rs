//! How much crosses to JavaScript at once, because it does nothing else while it reads a batch.

use super::{FLAG_WHOLE, MORE};
use crate::limits::{BATCH_BYTES, BATCH_PAYLOADS};
use std::collections::VecDeque;

/// What [`Events::fill`](super::Events::fill) did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filled {
    /// The bytes written.
    pub size: usize,
    /// Whether more events wait.
    pub more: bool,
}

impl Filled {
    /// Both in one number, which crosses.
    pub fn bits(self) -> u32 {
        self.size as u32 | if self.more { MORE } else { 0 }
    }
}

/// The offset of the flags in a record.
const FLAGS_AT: usize = 5;

/// How many bytes of the records in `waiting` cross next, given `room` bytes. `whole` has the payloads that
/// are not in their records.
pub(super) fn batch_size(waiting: &[u8], whole: &VecDeque<Vec<u8>>, room: usize) -> usize {
    let limit = room.min(BATCH_BYTES);
    if waiting.len() <= limit && whole.is_empty() {
        return waiting.len();
    }
    let mut payloads = whole.iter();
    let (mut size, mut beside) = (0, 0);
    while let Some(length) = waiting[size..].first_chunk() {
        let next = size + u32::from_le_bytes(*length) as usize;
        if waiting[size + FLAGS_AT] & FLAG_WHOLE != 0 {
            beside += payloads.next().map_or(0, Vec::len);
        }
        if size > 0 && (next > limit || beside > BATCH_PAYLOADS) {
            break;
        }
        size = next;
    }
    size
}
