//! The bounds on what the addon keeps, and on what it does at once.
//!
//! A new bound is stated here, enforced where the memory is held, and listed in docs/design.md under "What bounds
//! memory". The limits that a server's user sets (`maxConcurrentCalls`, `maxQueuedBytes`, `maxConnections`) come with
//! [`ListenOptions`](crate::engine::ListenOptions); [`budget`](crate::transport::budget) counts what is used of them.
//! Two bounds are part of a format: [`MESSAGE_LIMIT`](crate::protocol::status::MESSAGE_LIMIT) is ttrpc's, and
//! [`RECORD_LIMIT`](crate::records::RECORD_LIMIT) is that of a batch's records.

use std::time::Duration;

// What the peers of a listener can make this side keep. The order is that of `budget::Kind`: frames, messages, replies.

/// Bytes of each kind that a connection may have whatever the others have: 64 KiB in all.
pub const FREE_BYTES: [usize; 3] = [32 << 10, 16 << 10, 16 << 10];

/// The share of each kind, as a divisor of the listener's bytes: a quarter, a quarter, a half.
pub const SHARE_DIVISORS: [usize; 3] = [4, 4, 2];

/// How long a peer may read none of its replies while the listener's share for them is used up.
pub const UNREAD_TIME: Duration = Duration::from_secs(1);

/// How long the rest of a frame may take while others wait for the room that it holds.
pub const UNFINISHED_TIME: Duration = Duration::from_secs(5);

// What one connection may have.

/// Entries of metadata in a request. Real programs send a dozen.
pub const METADATA_LIMIT: usize = 1024;

/// Details in a status.
pub const DETAILS_LIMIT: usize = 1024;

/// Fields of an envelope that ttrpc does not know, or that are repeated. A later version of the protocol may add some,
/// but not this many.
pub const UNKNOWN_FIELDS_LIMIT: usize = 64;

/// Skipped stream ids that may still come. ttrpc's Rust client numbers a request before it queues it, so under load one
/// overtakes another; at most a hundred, the length of its queue, are on their way.
pub const SKIPPED_IDS_LIMIT: usize = 1024;

/// Bytes of stream messages that were not taken. Beyond, the connection is not read. What one turn reads
/// comes on top.
pub const MESSAGES_LIMIT: usize = 4 << 20;

/// Bytes that wait for the socket. Beyond, no frame is passed on to ttrpc. This is well above what streams may fill
/// ([`SEND_LIMIT`]), so a busy stream stops no calls.
pub const REPLY_LIMIT: usize = 8 << 20;

/// Bytes that wait for the socket. Beyond, no call starts and no stream sends a message.
pub const SEND_LIMIT: usize = 1 << 20;

/// Bytes of calls that wait to start. A call beyond it fails with RESOURCE_EXHAUSTED.
pub const WAITING_CALLS_LIMIT: usize = 64 << 20;

// What may wait for JavaScript to take its events, on one engine. Beyond, frames wait in their connections, and
// connections in the kernel's backlog.

/// Requests: as many as keep JavaScript busy. What their handlers answer is counted before others start.
pub const UNTAKEN_REQUESTS: usize = 32;

/// Bytes of frames.
pub const UNTAKEN_BYTES: usize = 16 << 20;

/// Accepted connections. Each leaves two events, however short its life.
pub const UNTAKEN_CONNECTIONS: usize = 1024;

// What one engine may have.

/// Requests in flight. JavaScript limits its calls to as many.
pub const IN_FLIGHT_LIMIT: usize = (1 << 20) - 1;

/// Unused bytes of allocated memory that busy connections keep between two turns. Beyond, a connection moves its bytes
/// into memory of their size.
pub const SLACK_LIMIT: usize = 4 << 20;

/// Buffers that no connection holds and that are kept for the next, in each direction.
pub const SPARE_BUFFERS: usize = 8;

/// The largest of them.
pub const SPARE_SIZE: usize = 1 << 20;

/// Bytes of memory of payloads that have left, kept for the next ones.
pub const SPARE_PAYLOADS: usize = 1 << 20;

/// Bytes of batches and payloads that wait for the I/O thread. Beyond, JavaScript waits until it has taken them.
pub const THREAD_QUEUE_LIMIT: usize = 64 << 20;

/// Bytes of live payloads that V8 does not count. This bounds what V8 leaves uncollected because it does not know of
/// it, and is twice what makes it collect.
pub const UNCOUNTED_LIMIT: usize = 64 << 20;

// What is done at once, so that nothing else waits for long.

/// Bytes that one connection may take from its socket in one turn. A payload of 256 KiB comes with its envelope; of a
/// larger one, a turn may take as much again as has arrived.
pub const READ_BUDGET: usize = (256 << 10) + 1024;

/// The same where requests are held back at a limit: what is read is what may exceed it.
pub const WAITING_READ_BUDGET: usize = 64 << 10;

/// Bytes that are read from a socket that can no longer be written to.
pub const LAST_WORDS: usize = 8 << 20;

/// Connections that a listener accepts in one turn.
pub const ACCEPT_BUDGET: usize = 64;

/// Bytes of event records that cross together, unless one record alone has more.
pub const BATCH_BYTES: usize = 256 << 10;

/// Bytes of payloads that cross beside them.
pub const BATCH_PAYLOADS: usize = 4 << 20;

/// How long to look for an answer before the thread sleeps, unless the program says how long.
pub const LOOK_TIME: Duration = Duration::from_micros(100);

/// Connections that one engine looks at, besides those for which the program says how long.
pub const LOOK_CONNECTIONS: usize = 8;

/// With so many calls in flight, the I/O thread and JavaScript's do better side by side.
pub const DRIVEN_CALLS: usize = 32;

/// The same for a batch of so many bytes.
pub const DRIVEN_BATCH: usize = 8 << 10;

/// What is mostly in vain is tried once in so many times. A power of two.
pub const RARELY: u32 = 64;

// What an item counts besides its bytes, so that empty ones count, too.

/// A message of a stream.
pub const MESSAGE_COST: usize = 64;

/// An entry of metadata: what JavaScript has around its two strings.
pub const METADATA_COST: usize = 128;

/// A call that waits to start.
pub const WAITING_COST: usize = 512;
