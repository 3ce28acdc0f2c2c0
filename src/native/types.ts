import type { Payload } from "../codec/payload.js";
import type { TtrpcError } from "../error.js";
import type { Metadata } from "../metadata.js";
import type { ConnectionClosed, PeerCredentials } from "../transport.js";
import type { BatchReader } from "./batch-reader.js";
import type { Named } from "./slots.js";

/** A call that waits for its outcome. One of the two is called, once, while the batch is read. */
export interface PendingCall extends Named {
  /** `reader` stands at the payload. */
  succeed(reader: BatchReader): void;
  fail(error: TtrpcError): void;
}

/** A streaming call. Besides an outcome it may have an end, which is one too. */
export interface PendingStream extends PendingCall {
  /** `reader` stands at the payload of a message. */
  message(reader: BatchReader): void;
  end(): void;
  sent(messages: number, bytes: number): void;
}

/** Hears of one connection. */
export interface ConnectionObserver {
  connected?(): void;
  /** It was accepted; told before all else of it. */
  accepted?(): void;
  /** Why what it runs over failed, if that is not what the engine knows. */
  failure?(): TtrpcError | undefined;
  closed(why: ConnectionClosed): void;
}

/** Hears of one listener. */
export interface ListenerObserver {
  accepted(connection: number, peer: PeerCredentials | undefined): void;
  acceptFailed(error: TtrpcError): void;
  /** It accepts no more, and all that it accepted was told. */
  closed(): void;
}

/** A request as it comes out of a batch. */
export interface IncomingRequest extends Readonly<Named> {
  readonly connection: number;
  /** Milliseconds that the caller gave, 0 for none. */
  readonly timeoutMs: number;
  readonly metadata: Metadata;
}

/** A request that a handler works on. */
export interface ActiveRequest extends Named {
  /** Starts the handler. Called when no batch is being read. */
  run(): void;
  /**
   * The request needs no answer any more: its deadline passed, or its connection ended. The bridge's `letGo` is to be called
   * for it once nothing of it is held.
   */
  abort(deadline: boolean): void;
  /** `reader` stands at the payload of a message. */
  message(reader: BatchReader): void;
  /** The peer sends no more. */
  end(): void;
  sent(messages: number, bytes: number): void;
}

/**
 * Takes a request of one method out of a batch, without running code of the user yet. `reader` stands at its fields.
 * What it returns has the request's name.
 */
export type RequestReceiver = (reader: BatchReader) => ActiveRequest;

/** A call's fields besides its payload, checked. */
export interface CallFields {
  readonly timeoutNs: number;
  readonly metadata: readonly (readonly [string, string])[];
  readonly cancellable: boolean;
}

/** A call on its way out: a unary one, or one that opens a stream. */
export interface OutgoingCall {
  /** The number of its method. */
  readonly route: number;
  readonly fields: CallFields;
  readonly payload: Payload;
}
