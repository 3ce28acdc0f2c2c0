import type { ConnectionClosed } from "../transport.js";

/**
 * The record format of the two batch buffers; `crate/records/mod.rs` is the other side, documents it and keeps the same
 * order.
 */

/** Bytes before a record's body: length, operation, flags, route, connection, slot and generation of the call. */
export const RECORD_HEADER = 20;

/** What JavaScript asks for. */
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
/** Flags of a stream's kind: which side sends any number of messages. */
export const FLAG_CLIENT_STREAM = 2;
export const FLAG_SERVER_STREAM = 4;

/** Flag of a record: its payload crosses whole, and not in the record. */
export const FLAG_WHOLE = 0x80;
/** From how many bytes on. Below, a copy is cheaper. */
export const WHOLE = 8 << 10;

/** Bit of the number of bytes of events that crossed: more of them wait. */
export const MORE = 2 ** 31;

/** The call may be canceled. */
export const FLAG_CANCELLABLE = 1;

/** Flag of a cancel: the reader of a stream left. */
export const FLAG_LEFT = 1;

/** What Rust reports. */
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

/** Why a connection ended, by the number that crosses. */
export const CLOSE_KINDS: readonly ConnectionClosed["reason"][] = ["local", "remote", "error", "protocol"];

/** The most bytes one message of ttrpc holds, envelope included. */
export const MESSAGE_LIMIT = 4 << 20;

/**
 * Bytes of each batch buffer: room for one record of the largest message and its fields. The pages of it that are
 * never used are never resident.
 */
export const BATCH_SIZE = MESSAGE_LIMIT + (1 << 20);
