import { Buffer } from "node:buffer";
import { OutgoingMessage, type Payload } from "../codec/payload.js";
import { Code } from "../code.js";
import { callError, type TtrpcError } from "../error.js";
import { lengthOf } from "../value-kinds.js";
import { MESSAGE_LIMIT } from "./records.js";
import type { CallFields } from "./types.js";
import { stringSize } from "./batch-writer.js";

/** Texts that may take more than this many bytes are measured; others are assumed to take three bytes a character. */
const MEASURED = 64 << 10;

/** The room that a payload is known to need. Throws if it is too large. */
export function knownSize(payload: Payload | undefined): number {
  if (payload === undefined || payload instanceof OutgoingMessage) return 0;
  const size = lengthOf(payload);
  if (size > MESSAGE_LIMIT) throw oversize(size);
  return size;
}

/** What the envelope of a response adds to a payload near the limit: its tag and length, and an empty status. */
export const RESPONSE_ENVELOPE = 7;

/** Throws if a response's payload is too large to be sent. */
export function checkResponse(payload: Uint8Array): void {
  const size = lengthOf(payload) + RESPONSE_ENVELOPE;
  if (size > MESSAGE_LIMIT) throw oversize(size);
}

/** The room that a method's names need. */
export function namesSize(service: string, method: string): number {
  const size = stringSize(service) + stringSize(method);
  return size <= MEASURED ? size : 8 + Buffer.byteLength(service) + Buffer.byteLength(method);
}

/** The room that a call's fields need. */
export function fieldsSize({ metadata }: CallFields): number {
  let size = 12;
  for (const [key, value] of metadata) size += stringSize(key) + stringSize(value);
  if (size <= MEASURED) return size;
  size = 12;
  for (const [key, value] of metadata) size += 8 + Buffer.byteLength(key) + Buffer.byteLength(value);
  return size;
}

/** The error of a call that fits no batch: its request is too large, or has more metadata pairs than a record holds. */
export function refusedCall(
  { service, method }: { readonly service: string; readonly method: string },
  { metadata }: CallFields,
  payload: number,
): TtrpcError {
  let size =
    fieldSize(Buffer.byteLength(service)) + fieldSize(Buffer.byteLength(method)) + fieldSize(payload);
  for (const [key, value] of metadata) {
    size += messageSize(fieldSize(Buffer.byteLength(key)) + fieldSize(Buffer.byteLength(value)));
  }
  if (size > MESSAGE_LIMIT) return oversize(size);
  return callError(`${metadata.length} pairs of metadata are too many`, Code.ResourceExhausted);
}

/** The error of a message that is too large to be sent. */
export function oversize(size: number): TtrpcError {
  const text = `message length ${size} exceed maximum message size of ${MESSAGE_LIMIT}`;
  return callError(text, Code.ResourceExhausted);
}

/** The bytes on the wire of a field whose value has `length` bytes. An empty field is left out. */
export function fieldSize(length: number): number {
  return length === 0 ? 0 : messageSize(length);
}

/** The bytes on the wire of a field whose message has `length` bytes. */
export function messageSize(length: number): number {
  return 1 + varintSize(length) + length;
}

/** The bytes on the wire of a number. */
export function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 0x80; rest /= 0x80) size++;
  return size;
}
