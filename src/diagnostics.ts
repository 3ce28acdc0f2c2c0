/**
 * Events for `node:diagnostics_channel`. A channel without subscribers costs one check.
 *
 * | channel | message | when |
 * | --- | --- | --- |
 * | `ttrpc:client:call:start` | {@link CallMessage} | a call is about to be sent |
 * | `ttrpc:client:call:end` | the same object, with `error` if it failed | it has settled |
 * | `ttrpc:server:call:start` | {@link CallMessage} | a request is about to be handled, or an event about to be queued |
 * | `ttrpc:server:call:end` | the same object, with `error` if it failed | it is answered, or its answer is no longer wanted |
 * | `ttrpc:connection:open` | {@link ConnectionMessage} | a connection is open, on either side |
 * | `ttrpc:connection:close` | the same object, with `why` | it has ended |
 */

import { type Channel, channel } from "node:diagnostics_channel";
import type { TtrpcError } from "./error.js";
import type { MethodKind } from "./interceptor.js";
import type { ConnectionClosed } from "./connection-types.js";

/** A call, in the messages of `ttrpc:client:call:*` and `ttrpc:server:call:*`: one object from start to end. */
export interface CallMessage {
  /** The full name of the service. */
  readonly service: string;
  /** The name of the method, as in the .proto file. */
  readonly method: string;
  /** The method's kind: unary, or which side streams. */
  readonly kind: MethodKind;
  /** The address that a client connected to; undefined on a server. */
  readonly address?: string;
  /** The number of the connection, as in {@link ConnectionMessage.id}. */
  readonly connection: number;
  /** Why the call failed; set when it ends. */
  error?: TtrpcError;
}

/** A connection, in the messages of `ttrpc:connection:*`: one object from open to close. */
export interface ConnectionMessage {
  /** Whether it was made by `connect` or `connectSync`, or accepted by a server. */
  readonly side: "client" | "server";
  /** A number that is unique among the connections of this thread. */
  readonly id: number;
  /** The address that a client connected to; undefined on a server. */
  readonly address?: string;
  /** How it ended; set when it closes. */
  why?: ConnectionClosed;
}

/** The two channels of something that starts and ends. */
class Span<Message extends object> {
  readonly #start: Channel;
  readonly #end: Channel;

  constructor(start: string, end: string) {
    this.#start = channel(start);
    this.#end = channel(end);
  }

  /** Whether anybody subscribed. If not, no message has to be made. */
  get active(): boolean {
    return this.#start.hasSubscribers || this.#end.hasSubscribers;
  }

  start(message: Message): Message {
    this.#start.publish(message);
    return message;
  }

  end(message: Message, details: Partial<Message>): void {
    this.#end.publish(Object.assign(message, details));
  }
}

/** Calls that this side makes. */
export const clientCalls = new Span<CallMessage>("ttrpc:client:call:start", "ttrpc:client:call:end");

/** Requests that this side handles. */
export const serverCalls = new Span<CallMessage>("ttrpc:server:call:start", "ttrpc:server:call:end");

/** Connections of both sides. */
export const connections = new Span<ConnectionMessage>("ttrpc:connection:open", "ttrpc:connection:close");
