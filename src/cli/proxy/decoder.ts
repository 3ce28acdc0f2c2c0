import type { DescMessage, DescMethod } from "@bufbuild/protobuf";
import { messageFromBytes } from "../message-from-bytes.js";
import { anyToJson, messageToJson, type ToJsonOptions } from "../message-to-json.js";
import type { Json } from "../json-value.js";
import { problemOf, rawOf } from "../output/raw.js";
import { type RequestEnvelope, type ResponseEnvelope, readRequest, readResponse } from "./envelope.js";
import { Flag, type Frame, FrameType } from "./frames.js";

/** Where a frame comes from. */
export type Sender = "client" | "server";

/** A decoded frame. Fields that do not apply to it are absent. */
export interface Decoded {
  readonly stream: number;
  readonly from: Sender;
  readonly type: "request" | "response" | "data" | "unknown";
  /** The size of its body, in bytes. */
  readonly size: number;
  readonly service?: string;
  readonly method?: string;
  readonly metadata?: Record<string, string[]>;
  readonly timeoutMs?: number;
  /** The sender may send more on this stream. */
  readonly open?: true;
  /** The sender sends no more on this stream. */
  readonly end?: true;
  readonly message?: Json;
  /** The bytes in hexadecimal, if they cannot be shown as a message. */
  readonly raw?: string;
  /** Why they cannot. */
  readonly problem?: string;
  readonly status?: { readonly code: number; readonly message: string; readonly details: readonly Json[] };
  /** For frames from the server: milliseconds since the request. */
  readonly latencyMs?: number;
}

interface Call {
  readonly service: string;
  readonly method: string;
  readonly desc: DescMethod | undefined;
  readonly startedAt: number;
}

/** The most calls that are remembered. Beyond that, the oldest is forgotten, and its frames come without a name. */
const MOST_CALLS = 65_536;

/** Decodes the frames of one connection. */
export class Decoder {
  readonly #options: ToJsonOptions;
  readonly #now: () => number;
  readonly #calls = new Map<number, Call>();

  constructor(options: ToJsonOptions, now: () => number = () => performance.now()) {
    this.#options = options;
    this.#now = now;
  }

  /** Decodes a frame. Never throws for what a peer sent. */
  decode(frame: Frame, from: Sender): Decoded {
    const { streamId: stream, type, size, body } = frame;
    const names = ["unknown", "request", "response", "data"] as const;
    const base = { stream, from, type: names[type] ?? "unknown", size };
    if (body === undefined)
      return { ...base, ...this.#called(stream, from), problem: "larger than a message may be" };
    try {
      switch (type) {
        case FrameType.Request:
          return { ...base, ...this.#request(frame, readRequest(body)) };
        case FrameType.Response:
          return { ...base, ...this.#response(frame, readResponse(body)) };
        case FrameType.Data:
          return { ...base, ...this.#data(frame, from, body) };
        default:
          return { ...base, ...rawOf(body, `the type ${type} does not exist`) };
      }
    } catch (error) {
      return { ...base, ...this.#called(stream, from), ...rawOf(body, error) };
    }
  }

  #request({ streamId, flags }: Frame, request: RequestEnvelope): Partial<Decoded> {
    const { service, method, payload, timeoutMs, metadata } = request;
    const desc = this.#options.registry.getService(service)?.methods.find(({ name }) => name === method);
    this.#calls.set(streamId, { service, method, desc, startedAt: this.#now() });
    if (this.#calls.size > MOST_CALLS) this.#calls.delete(this.#calls.keys().next().value!);
    const open = (flags & Flag.RemoteOpen) !== 0;
    // A request that opens a stream for the client's messages carries none itself.
    const message = open && payload.length === 0 ? {} : this.#message(desc?.input, payload);
    return {
      service,
      method,
      ...(Object.keys(metadata).length > 0 && { metadata }),
      ...(timeoutMs !== undefined && { timeoutMs }),
      ...(open && { open }),
      ...message,
    };
  }

  #response({ streamId }: Frame, { status, payload }: ResponseEnvelope): Partial<Decoded> {
    const call = this.#calls.get(streamId);
    const called = this.#called(streamId, "server");
    this.#calls.delete(streamId);
    if (status !== undefined && status.code !== 0) {
      const details = status.details.map((any) => anyToJson(any, this.#options));
      return { ...called, end: true, status: { ...status, details } };
    }
    const streams =
      call?.desc?.methodKind === "server_streaming" || call?.desc?.methodKind === "bidi_streaming";
    // The response that ends a server's stream carries no message.
    const message = streams && payload.length === 0 ? {} : this.#message(call?.desc?.output, payload);
    return { ...called, end: true, ...message };
  }

  #data({ streamId, flags }: Frame, from: Sender, body: Uint8Array): Partial<Decoded> {
    const desc = this.#calls.get(streamId)?.desc;
    const end = (flags & Flag.RemoteClosed) !== 0;
    const message =
      (flags & Flag.NoData) !== 0 ? {} : this.#message(from === "client" ? desc?.input : desc?.output, body);
    const called = this.#called(streamId, from);
    if (end && from === "server") this.#calls.delete(streamId);
    return { ...called, ...(end && { end }), ...message };
  }

  #called(streamId: number, from: Sender): Partial<Decoded> {
    const call = this.#calls.get(streamId);
    if (call === undefined) return {};
    const { service, method, startedAt } = call;
    return { service, method, ...(from === "server" && { latencyMs: this.#now() - startedAt }) };
  }

  #message(desc: DescMessage | undefined, bytes: Uint8Array): Partial<Decoded> {
    if (desc === undefined) return rawOf(bytes, "its definition is not known");
    try {
      return { message: messageToJson(desc, messageFromBytes(desc, bytes), this.#options) };
    } catch (error) {
      return rawOf(bytes, `not a ${desc.typeName}: ${problemOf(error)}`);
    }
  }
}
