import type { Any } from "@bufbuild/protobuf/wkt";
import { Code } from "../code.js";
import type { TtrpcError } from "../error.js";
import { BATCH_SIZE, MESSAGE_LIMIT, RECORD_HEADER } from "./records.js";
import { fieldSize, messageSize, varintSize } from "./size.js";

/** What crosses of an error, and the room that it needs. */
export interface Status {
  readonly code: number;
  readonly message: string;
  readonly details: readonly Any[];
  readonly size: number;
}

/** A text of so many bytes is not cut further to make room for details. */
const LEAST_TEXT = 64 << 10;

/** A client takes no more of them. */
const MOST_DETAILS = 1024;

/** More than is ever said of what was cut. */
const NOTE_SIZE = 200;

/** What a status has besides its text and details: on the wire 23 bytes at most, in a record 28. */
const OVERHEAD = 32;

/**
 * An error as it can be sent. One that is too large keeps its code. Its text is cut first, to no less than 64 KiB where
 * there are details; then details are left out, from the last on. Its text says so.
 */
export function statusOf(error: TtrpcError): Status {
  const { message, details } = error;
  const code = codeOf(error);
  if (details.length === 0 && message.length < LEAST_TEXT) {
    return { code, message, details, size: RECORD_BODY + message.length * 3 };
  }
  const text = Buffer.byteLength(message);
  const whole = measured(details);
  const few = details.length <= MOST_DETAILS;
  if (few && fits(code, text, whole))
    return { code, message, details, size: RECORD_BODY + text + whole.record };

  const kept = details.slice(0, MOST_DETAILS);
  let rest = few ? whole : measured(kept);
  while (kept.length > 0 && roomBeside(rest) < Math.min(text, LEAST_TEXT) + NOTE_SIZE) {
    const last = measured(kept.splice(-1));
    rest = { wire: rest.wire - last.wire, record: rest.record - last.record };
  }
  let cut = message;
  if (text > roomBeside(rest) - NOTE_SIZE) {
    const { read } = new TextEncoder().encodeInto(message, new Uint8Array(roomBeside(rest) - NOTE_SIZE));
    cut = `${message.slice(0, read)}… (cut here: the text has ${text} bytes)`;
  }
  if (kept.length < details.length) {
    cut += ` (too large to be sent: ${details.length - kept.length} of ${details.length} details)`;
  }
  return { code, message: cut, details: kept, size: RECORD_BODY + Buffer.byteLength(cut) + rest.record };
}

/** Code, length of the text, number of details. */
const RECORD_BODY = 12;

/** How many bytes details take, on the wire and in a record. */
interface Measured {
  readonly wire: number;
  readonly record: number;
}

function measured(details: readonly Any[]): Measured {
  let wire = 0;
  let record = 0;
  for (const { typeUrl, value } of details) {
    const url = Buffer.byteLength(typeUrl);
    wire += messageSize(fieldSize(url) + fieldSize(value.length));
    record += 8 + url + value.length;
  }
  return { wire, record };
}

/** Bytes of text that surely fit beside details. */
function roomBeside({ wire, record }: Measured): number {
  return Math.min(MESSAGE_LIMIT - wire, BATCH_SIZE - record) - OVERHEAD;
}

function fits(code: number, text: number, { wire, record }: Measured): boolean {
  // A negative number takes ten bytes.
  const number = 1 + (code < 0 ? 10 : varintSize(code));
  return (
    messageSize(number + fieldSize(text) + wire) <= MESSAGE_LIMIT &&
    RECORD_HEADER + RECORD_BODY + text + record <= BATCH_SIZE
  );
}

/** A code that was changed to none after the error was made must not turn it into a success. */
function codeOf({ code }: TtrpcError): number {
  return Number.isInteger(code) && (code | 0) === code && Number(code) !== 0 ? code : Code.Unknown;
}
