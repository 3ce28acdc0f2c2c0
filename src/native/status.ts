import { TextEncoder } from "node:util";
import { Buffer } from "node:buffer";
import type { Any } from "@bufbuild/protobuf/wkt";
import { Code } from "../code.js";
import type { TtrpcError } from "../error.js";
import { lengthOf } from "../value-kinds.js";
import { BATCH_SIZE, MESSAGE_LIMIT, RECORD_HEADER } from "./records.js";
import { fieldSize, messageSize, varintSize } from "./encoded-size.js";

/** An error in the form that crosses, and the room that it needs. */
export interface Status {
  readonly code: number;
  readonly message: string;
  readonly details: readonly Any[];
  readonly size: number;
}

/** A text is not cut below this many bytes to make room for details. */
const LEAST_TEXT = 64 << 10;

/** The most details that a client takes. */
const MOST_DETAILS = 1024;

/** More room than the note about what was cut ever takes. */
const NOTE_SIZE = 200;

/** The bytes of a status besides its text and details: at most 23 on the wire, and 28 in a record. */
const OVERHEAD = 32;

/**
 * Makes an error fit to be sent. If it is too large, it keeps its code. First its text is cut, to no less than 64 KiB
 * if there are details; then details are dropped, the last ones first. The text says what was cut.
 */
export function statusOf(error: TtrpcError): Status {
  const { rawMessage: message, details } = error;
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

/** Code, length of the message, number of details. */
const RECORD_BODY = 12;

/** The bytes of details, on the wire and in a record. */
interface Measured {
  readonly wire: number;
  readonly record: number;
}

function measured(details: readonly Any[]): Measured {
  let wire = 0;
  let record = 0;
  for (const { typeUrl, value } of details) {
    const url = Buffer.byteLength(typeUrl);
    wire += messageSize(fieldSize(url) + fieldSize(lengthOf(value)));
    record += 8 + url + lengthOf(value);
  }
  return { wire, record };
}

/** Bytes of text that are sure to fit beside the details. */
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

/** If the code was changed to an invalid one after the error was made, the error must not become a success. */
function codeOf({ code }: TtrpcError): number {
  return Number.isInteger(code) && (code | 0) === code && Number(code) !== 0 ? code : Code.Unknown;
}
