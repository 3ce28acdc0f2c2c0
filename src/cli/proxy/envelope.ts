import { fromBinary } from "@bufbuild/protobuf";
import { BinaryReader, type WireType } from "@bufbuild/protobuf/wire";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";

/** The body of a request frame. */
export interface RequestEnvelope {
  service: string;
  method: string;
  payload: Uint8Array;
  timeoutMs: number | undefined;
  metadata: Record<string, string[]>;
}

/** The body of a response frame. */
export interface ResponseEnvelope {
  status: { code: number; message: string; details: Any[] } | undefined;
  payload: Uint8Array;
}

const NOTHING = new Uint8Array(0);

/** Reads the body of a request frame. Throws if the bytes are not one. */
export function readRequest(body: Uint8Array): RequestEnvelope {
  const request: RequestEnvelope = {
    service: "",
    method: "",
    payload: NOTHING,
    timeoutMs: undefined,
    metadata: Object.create(null) as Record<string, string[]>,
  };
  readFields(body, {
    1: (reader) => (request.service = reader.string()),
    2: (reader) => (request.method = reader.string()),
    3: (reader) => (request.payload = reader.bytes()),
    4: (reader) => (request.timeoutMs = Number(reader.int64()) / 1e6),
    5(reader) {
      let [key, value] = ["", ""];
      readFields(reader.bytes(), {
        1: (pair) => (key = pair.string()),
        2: (pair) => (value = pair.string()),
      });
      (request.metadata[key] ??= []).push(value);
    },
  });
  return request;
}

/** Reads the body of a response frame. Throws if the bytes are not one. */
export function readResponse(body: Uint8Array): ResponseEnvelope {
  const response: ResponseEnvelope = { status: undefined, payload: NOTHING };
  readFields(body, {
    1(reader) {
      const status = { code: 0, message: "", details: [] as Any[] };
      readFields(reader.bytes(), {
        1: (inner) => (status.code = inner.int32()),
        2: (inner) => (status.message = inner.string()),
        3: (inner) => status.details.push(fromBinary(AnySchema, inner.bytes())),
      });
      response.status = status;
    },
    2: (reader) => (response.payload = reader.bytes()),
  });
  return response;
}

type Readers = Readonly<Record<number, (reader: BinaryReader) => unknown>>;

function readFields(bytes: Uint8Array, readers: Readers): void {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, wireType]: [number, WireType] = reader.tag();
    const read = readers[field];
    if (read === undefined) reader.skip(wireType, field);
    else read(reader);
  }
}
