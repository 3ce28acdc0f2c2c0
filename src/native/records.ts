import type { ConnectionClosed } from "../connection-types.js";

/**
 * The record format of the two batch buffers. `crate/records/mod.rs` is the other side: it documents the format, and keeps
 * the same order.
 */

/**
 * Bytes before a record's body: its length, operation, flags, route and connection, and its call's slot and generation.
 */
export const RECORD_HEADER = 20;

/** Operations of commands, which JavaScript writes. */
export const Command = {
  Route: 1,
  Call: 2,
  Cancel: 3,
  Reply: 4,
  Open: 5,
  Send: 6,
  HalfClose: 7,
  Taken: 8,
  LetGo: 9,
} as const;

/** Flag of a stream's records: the stream is one that this side serves. */
export const FLAG_SERVED = 1;
/** Flags of a stream's kind, in `Open` and `Request`: which side sends any number of messages. */
export const FLAG_CLIENT_STREAM = 2;
export const FLAG_SERVER_STREAM = 4;

/** Flag of a record: its payload crosses whole, outside the record. */
export const FLAG_WHOLE = 0x80;
/** Payloads of at least this many bytes cross whole. Below, a copy is cheaper. */
export const WHOLE = 8 << 10;

/** Bit in the number of bytes of events that crossed: more events wait. */
export const MORE = 2 ** 31;

/** Flag of a command: the call may be canceled. */
export const FLAG_CANCELLABLE = 1;

/** Flag of `Cancel`: the reader of the stream left. */
export const FLAG_LEFT = 1;

/** Operations of events, which Rust writes. */
export const Event = {
  Response: 1,
  Status: 2,
  Failed: 3,
  Connected: 4,
  Closed: 5,
  Accepted: 6,
  Request: 7,
  Aborted: 8,
  AcceptFailed: 9,
  Message: 10,
  End: 11,
  Sent: 12,
  ListenerClosed: 13,
} as const;

/** Why a connection ended; the index is the number that crosses. */
export const CLOSE_KINDS: readonly ConnectionClosed["reason"][] = ["local", "remote", "error", "protocol"];

/** The most bytes in one ttrpc message, envelope included. */
export const MESSAGE_LIMIT = 4 << 20;

/**
 * Bytes of each batch buffer: room for one record with the largest message and its fields. Pages that are never used
 * never become resident.
 */
export const BATCH_SIZE = MESSAGE_LIMIT + (1 << 20);
