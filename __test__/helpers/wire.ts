import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/*
 * ttrpc's wire format, implemented a second time from its specification, because the tests must not compare the product
 * with itself.
 */

/** The largest size of a frame's body, in bytes. */
export const FRAME_LIMIT = 4_194_304;

const HEADER_SIZE = 10;

export const FrameType = { Request: 1, Response: 2, Data: 3 } as const;

export interface Frame {
  readonly streamId: number;
  readonly type: number;
  readonly flags: number;
  readonly body: Uint8Array;
}

/** A frame's bytes. `length` is the length in the header, if it should not be the true one. */
export function encodeFrame(
  { streamId, type, flags = 0, body }: Omit<Frame, "flags"> & { readonly flags?: number },
  length = body.length,
): Buffer {
  const header = Buffer.alloc(HEADER_SIZE);
  header.writeUInt32BE(length, 0);
  header.writeUInt32BE(streamId, 4);
  header[8] = type;
  header[9] = flags;
  return Buffer.concat([header, body]);
}

/** The first frame in `buffer`, if it is complete. */
export function decodeFrame(buffer: Buffer): { frame: Frame; rest: Buffer } | undefined {
  if (buffer.length < HEADER_SIZE) return undefined;
  const end = HEADER_SIZE + buffer.readUInt32BE(0);
  if (buffer.length < end) return undefined;
  const frame = {
    streamId: buffer.readUInt32BE(4),
    type: buffer.readUInt8(8),
    flags: buffer.readUInt8(9),
    body: new Uint8Array(buffer.subarray(HEADER_SIZE, end)),
  };
  return { frame, rest: buffer.subarray(end) };
}

/** The envelope of a request. */
export interface RequestEnvelope {
  readonly service: string;
  readonly method: string;
  readonly payload: Uint8Array;
  readonly timeoutNano: bigint;
  readonly metadata: readonly (readonly [key: string, value: string])[];
}

export function encodeRequest(request: Partial<RequestEnvelope>): Uint8Array {
  const { service = "", method = "", payload = new Uint8Array(), timeoutNano = 0n, metadata = [] } = request;
  const writer = new BinaryWriter();
  if (service !== "") writer.tag(1, WireType.LengthDelimited).string(service);
  if (method !== "") writer.tag(2, WireType.LengthDelimited).string(method);
  if (payload.length > 0) writer.tag(3, WireType.LengthDelimited).bytes(payload);
  if (timeoutNano !== 0n) writer.tag(4, WireType.Varint).int64(timeoutNano);
  for (const [key, value] of metadata) {
    writer.tag(5, WireType.LengthDelimited).fork();
    writer.tag(1, WireType.LengthDelimited).string(key);
    writer.tag(2, WireType.LengthDelimited).string(value);
    writer.join();
  }
  return writer.finish();
}

export function decodeRequest(body: Uint8Array): RequestEnvelope {
  let [service, method, payload, timeoutNano] = ["", "", new Uint8Array(), 0n];
  const metadata: [string, string][] = [];
  readFields(body, {
    1: (reader) => (service = reader.string()),
    2: (reader) => (method = reader.string()),
    3: (reader) => (payload = reader.bytes().slice()),
    4: (reader) => (timeoutNano = BigInt(reader.int64())),
    5: (reader) => {
      const pair: [string, string] = ["", ""];
      readFields(reader.bytes(), {
        1: (inner) => (pair[0] = inner.string()),
        2: (inner) => (pair[1] = inner.string()),
      });
      metadata.push(pair);
    },
  });
  return { service, method, payload, timeoutNano, metadata };
}

export interface StatusEnvelope {
  readonly code: number;
  readonly message: string;
  readonly details: readonly { readonly typeUrl: string; readonly value: Uint8Array }[];
}

/** The envelope of a response. */
export interface ResponseEnvelope {
  readonly status: StatusEnvelope;
  readonly payload: Uint8Array;
}

export function encodeStatus({ code = 0, message = "", details = [] }: Partial<StatusEnvelope>): Uint8Array {
  const writer = new BinaryWriter();
  if (code !== 0) writer.tag(1, WireType.Varint).int32(code);
  if (message !== "") writer.tag(2, WireType.LengthDelimited).string(message);
  for (const { typeUrl, value } of details) {
    writer.tag(3, WireType.LengthDelimited).fork();
    writer.tag(1, WireType.LengthDelimited).string(typeUrl);
    writer.tag(2, WireType.LengthDelimited).bytes(value);
    writer.join();
  }
  return writer.finish();
}

export function encodeResponse(response: {
  readonly status?: Partial<StatusEnvelope>;
  readonly payload?: Uint8Array;
}): Uint8Array {
  const { status, payload = new Uint8Array() } = response;
  const writer = new BinaryWriter();
  if (status !== undefined) writer.tag(1, WireType.LengthDelimited).bytes(encodeStatus(status));
  if (payload.length > 0) writer.tag(2, WireType.LengthDelimited).bytes(payload);
  return writer.finish();
}

export function decodeResponse(body: Uint8Array): ResponseEnvelope {
  let [code, message, payload] = [0, "", new Uint8Array()];
  const details: { typeUrl: string; value: Uint8Array }[] = [];
  const any = (encoded: Uint8Array) => {
    const detail = { typeUrl: "", value: new Uint8Array() };
    readFields(encoded, {
      1: (reader) => (detail.typeUrl = reader.string()),
      2: (reader) => (detail.value = reader.bytes().slice()),
    });
    details.push(detail);
  };
  readFields(body, {
    1: (reader) =>
      readFields(reader.bytes(), {
        1: (status) => (code = status.int32()),
        2: (status) => (message = status.string()),
        3: (status) => any(status.bytes()),
      }),
    2: (reader) => (payload = reader.bytes().slice()),
  });
  return { status: { code, message, details }, payload };
}

/** Reads the fields of a message by their numbers. A field without a reader fails the test. */
function readFields(encoded: Uint8Array, readers: Record<number, (reader: BinaryReader) => unknown>): void {
  const reader = new BinaryReader(encoded);
  while (reader.pos < reader.len) {
    const [number] = reader.tag();
    const read = readers[number];
    if (read === undefined) throw new Error(`a message has the field ${number}`);
    read(reader);
  }
}

/** The payload that makes a request to a method exceed the limit by `over` bytes, envelope included. */
export function requestPayload(over: number, request: Omit<Partial<RequestEnvelope>, "payload">): Uint8Array {
  return payloadOf(over, (payload) => encodeRequest({ ...request, payload }));
}

/** The payload that makes a successful response exceed the limit by `over` bytes, envelope included. */
export function responsePayload(over: number): Uint8Array {
  return payloadOf(over, (payload) => encodeResponse({ status: {}, payload }));
}

function payloadOf(over: number, encode: (payload: Uint8Array) => Uint8Array): Uint8Array {
  const half = FRAME_LIMIT / 2;
  const envelope = encode(new Uint8Array(half)).length - half;
  const payload = new Uint8Array(FRAME_LIMIT + over - envelope).fill(7);
  const size = encode(payload).length;
  if (size !== FRAME_LIMIT + over) throw new Error(`the envelope has ${size} bytes`);
  return payload;
}
