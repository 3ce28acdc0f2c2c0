/** ttrpc's wire format, with just enough hand-written protobuf for its Request and Response. */

/** The size of a frame's header: the length of the body, the stream's id, the type and the flags. The body follows. */
export const HEADER = 10;

export const REQUEST = 1;
export const RESPONSE = 2;
export const DATA = 3;

export const REMOTE_CLOSED = 1;
export const REMOTE_OPEN = 2;
export const NO_DATA = 4;

/** Field numbers and wire types. */
const SERVICE = 0x0a;
const METHOD = 0x12;
export const REQUEST_PAYLOAD = 0x1a;
const STATUS = 0x0a;
export const RESPONSE_PAYLOAD = 0x12;
const CODE = 0x08;
const MESSAGE = 0x12;

/** The status that every server sends with a success. */
export const STATUS_OK = Buffer.from([STATUS, 0]);

const EMPTY: Buffer = Buffer.alloc(0);

/** A status other than OK. */
export class StatusError extends Error {
  constructor(
    message: string,
    readonly code: number,
  ) {
    super(message);
  }
}

/** The encoded service and method, with which every request to the method begins. */
export function requestPrefix(service: string, method: string): Buffer {
  return Buffer.concat([text(SERVICE, service), text(METHOD, method)]);
}

/** An encoded status. */
export function encodeStatus(code: number, message: string): Buffer {
  const status = Buffer.concat([Buffer.from([CODE, code]), text(MESSAGE, message)]);
  return Buffer.concat([Buffer.from([STATUS]), varint(status.length), status]);
}

function text(tag: number, value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([tag]), varint(bytes.length), bytes]);
}

function varint(value: number): Buffer {
  const bytes = Buffer.alloc(varintSize(value));
  writeVarint(bytes, 0, value);
  return bytes;
}

/** How many bytes {@link writeVarint} writes. */
export function varintSize(value: number): number {
  let size = 1;
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) size++;
  return size;
}

/** Writes a number and returns the position after it. */
export function writeVarint(buffer: Buffer, start: number, value: number): number {
  let at = start;
  let rest = value;
  for (; rest > 0x7f; rest >>>= 7) buffer[at++] = (rest & 0x7f) | 0x80;
  buffer[at++] = rest;
  return at;
}

/** Walks the fields of a message without allocating an object for each. */
export class Fields {
  tag = 0;
  start = 0;
  end = 0;
  #at: number;

  constructor(
    readonly data: Buffer,
    start: number,
    readonly limit: number,
  ) {
    this.#at = start;
  }

  /** Moves to the next field. Its contents are at `start` to `end`, or `start` is its number. */
  next(): boolean {
    if (this.#at >= this.limit) return false;
    this.tag = this.#varint();
    if ((this.tag & 7) === 0) this.start = this.#varint();
    else {
      const size = this.#varint();
      this.start = this.#at;
      this.end = this.#at += size;
    }
    if (this.#at > this.limit) throw new Error("a field that is longer than its message");
    return true;
  }

  #varint(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.data[this.#at++] ?? 0;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
  }

  bytes(): Buffer {
    return this.data.subarray(this.start, this.end);
  }

  string(): string {
    return this.data.toString("utf8", this.start, this.end);
  }
}

/**
 * The payload of a response. It is a view, since node:net reads into new memory each time. Throws a status other than
 * OK.
 */
export function parseResponse(data: Buffer, start: number, end: number): Buffer {
  const fields = new Fields(data, start, end);
  let payload = EMPTY;
  while (fields.next()) {
    if (fields.tag === RESPONSE_PAYLOAD) payload = fields.bytes();
    else if (fields.tag === STATUS && fields.end > fields.start) {
      throwUnlessOk(new Fields(data, fields.start, fields.end));
    }
  }
  return payload;
}

function throwUnlessOk(fields: Fields): void {
  let code = 0;
  let message = "";
  while (fields.next()) {
    if (fields.tag === CODE) code = fields.start;
    else if (fields.tag === MESSAGE) message = fields.string();
  }
  if (code !== 0) throw new StatusError(message, code);
}

/** A request without its metadata and timeout, which the benchmark does not send. */
export function parseRequest(data: Buffer, start: number, end: number) {
  const fields = new Fields(data, start, end);
  let service = "";
  let method = "";
  let payload = EMPTY;
  while (fields.next()) {
    if (fields.tag === SERVICE) service = fields.string();
    else if (fields.tag === METHOD) method = fields.string();
    else if (fields.tag === REQUEST_PAYLOAD) payload = fields.bytes();
  }
  return { service, method, payload };
}
