import { Code } from "../code.js";
import { type CallMessage, serverCalls } from "../diagnostics.js";
import { TtrpcError } from "../error.js";
import type { Bridge } from "../native/bridge.js";
import type { Named } from "../native/slots.js";
import type { ActiveRequest } from "../native/types.js";
import { Events } from "../protos/generated/containerd/services/events/ttrpc/v1/events_pb.js";
import type { ArrivedEvent } from "./event.js";

/** Told that nobody waits for the answer any more. */
export interface EventOwner {
  readonly bridge: Bridge;
  aborted(held: HeldEvent, deadline: boolean): void;
}

/** An event as it arrived, to pass on. */
export interface Passing {
  readonly payload: Uint8Array;
  readonly metadata: readonly (readonly [string, string])[];
  /** When its caller gives up, by `currentMs()`; infinity if never. */
  readonly expiresAt: number;
}

/** The name of a request, and where it came from. */
export interface RequestName extends Readonly<Named> {
  readonly connection: number;
}

/** Reports a request that is about to be handled to the diagnostics channels, if anybody listens. */
export function tracedRequest(connection: number): CallMessage | undefined {
  if (!serverCalls.active) return undefined;
  return serverCalls.start({ service: Events.typeName, method: "Forward", kind: "unary", connection });
}

/** An event that came in a request, from its arrival until it is answered and taken. */
export class HeldEvent implements ActiveRequest {
  readonly event: ArrivedEvent;
  /** The bytes of the request. */
  readonly size: number;
  readonly wanted: boolean;
  /** Whether its message takes so much that it is decoded only when the event is taken. */
  isHeavy = false;
  readonly connection: number;
  readonly passing: Passing | undefined;
  /** `new`: waiting for its outcome elsewhere. `ready`: the consumer may have it. `gone`: nobody will get it. */
  state: "new" | "ready" | "gone" = "new";
  /** Where it is: waiting for a place in the queue, in it, or out of it. */
  place: "outside" | "queue" | "out" = "out";
  /** The answer, unless it is an empty message. */
  reply: Uint8Array | undefined = undefined;
  readonly slot: number;
  readonly generation: number;
  readonly #owner: EventOwner;
  /** Whether the request waits for an answer. */
  #waits = true;
  /** Whether the request was aborted and counts for as long as the event is held. */
  #aborted = false;
  /** What the diagnostics channels were told about it. */
  #trace: CallMessage | undefined = undefined;

  constructor(
    owner: EventOwner,
    { slot, generation, connection }: RequestName,
    event: ArrivedEvent,
    size: number,
    wanted: boolean,
    passing: Passing | undefined,
  ) {
    this.#owner = owner;
    this.slot = slot;
    this.generation = generation;
    this.connection = connection;
    this.event = event;
    this.size = size;
    this.wanted = wanted;
    this.passing = passing;
  }

  /** Whether its publisher still waits for an answer. */
  get waits(): boolean {
    return this.#waits;
  }

  /** Reports that handling starts. Never called while a batch is read. */
  started(): void {
    if (this.#waits) this.#trace = tracedRequest(this.connection);
  }

  /** Answers the request, if it still waits. Never called while a batch is read. */
  answer(error?: TtrpcError): void {
    this.letGo();
    if (!this.#waits) return;
    this.#waits = false;
    this.#owner.bridge.reply(this, error === undefined ? this.reply : undefined, error);
    this.#ended(error);
  }

  abort(deadline: boolean): void {
    this.#waits = false;
    this.#aborted = true;
    const error = deadline
      ? new TtrpcError("the deadline of the event's publisher passed", Code.DeadlineExceeded)
      : new TtrpcError("the event's publisher has gone", Code.Canceled);
    this.#ended(error);
    this.#owner.aborted(this, deadline);
    if (this.state === "gone") this.letGo();
  }

  /** Releases an aborted request once no queue holds it. */
  letGo(): void {
    if (!this.#aborted) return;
    this.#aborted = false;
    this.#owner.bridge.letGo(this);
  }

  #ended(error: TtrpcError | undefined): void {
    if (this.#trace !== undefined) serverCalls.end(this.#trace, error === undefined ? {} : { error });
    this.#trace = undefined;
  }

  run(): void {}
  message(): void {}
  end(): void {}
  sent(): void {}
}
