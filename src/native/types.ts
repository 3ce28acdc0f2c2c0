import type { Payload } from "../codec/payload.js";
import type { TtrpcError } from "../error.js";
import type { Metadata } from "../metadata.js";
import type { ConnectionClosed, PeerCredentials } from "../connection-types.js";
import type { BatchReader } from "./batch-reader.js";
import type { Named } from "./slots.js";

/** A call that waits for its outcome. Either `succeed` or `fail` is called once, while the batch is read. */
export interface PendingCall extends Named {
  /** `reader` stands at the payload. */
  succeed(reader: BatchReader): void;
  fail(error: TtrpcError): void;
}

/** A streaming call. `end` is a third possible outcome. */
export interface PendingStream extends PendingCall {
  /** `reader` stands at the payload of a message. */
  message(reader: BatchReader): void;
  end(): void;
  sent(messages: number, bytes: number): void;
}

/** Receives the events of one connection. */
export interface ConnectionObserver {
  connected?(): void;
  /** It was accepted; called before everything else. */
  accepted?(): void;
  /** Why the transport under it failed, if the engine does not know. */
  failure?(): TtrpcError | undefined;
  closed(why: ConnectionClosed): void;
}

/** Receives the events of one listener. */
export interface ListenerObserver {
  accepted(connection: number, peer: PeerCredentials | undefined): void;
  acceptFailed(errno: number, text: string): void;
  /** It accepts no more, and everything that it accepted has been reported. */
  closed(): void;
}

/** A request as it is read from a batch. */
export interface IncomingRequest extends Readonly<Named> {
  readonly connection: number;
  /** The caller's timeout in milliseconds, 0 for none. */
  readonly timeoutMs: number;
  readonly metadata: Metadata;
}

/** A request that a handler works on. */
export interface ActiveRequest extends Named {
  /** Starts the handler. Called when no batch is being read. */
  run(): void;
  /**
   * The request needs no answer any more: its deadline passed, or its connection ended. Once nothing of it is held, the
   * bridge's `letGo` must be called.
   */
  abort(deadline: boolean): void;
  /** `reader` stands at the payload of a message. */
  message(reader: BatchReader): void;
  /** The peer sends no more messages. */
  end(): void;
  sent(messages: number, bytes: number): void;
}

/**
 * Reads a request of one method from a batch, without running user code yet. `reader` stands at the request's fields.
 * The result has the request's name.
 */
export type RequestReceiver = (reader: BatchReader) => ActiveRequest;

/** A call's fields besides its payload, checked. */
export interface CallFields {
  readonly timeoutNs: number;
  readonly metadata: readonly (readonly [string, string])[];
  readonly cancellable: boolean;
}

/** An outgoing call: unary, or one that opens a stream. */
export interface OutgoingCall {
  /** The method's route. */
  readonly route: number;
  readonly fields: CallFields;
  readonly payload: Payload;
}
