import { Code } from "../code.js";
import { type CallMessage, serverCalls } from "../diagnostics.js";
import { TtrpcError } from "../error.js";
import type { Port } from "../port/port.js";
import type { ActiveRequest } from "../port/types.js";
import type { ContainerdEvent } from "./event.js";

/** Hears that nobody waits for the answer any more. */
export interface EventOwner {
  readonly port: Port;
  aborted(held: HeldEvent, deadline: boolean): void;
}

/** An event as it came, to be passed on. */
export interface Passing {
  readonly payload: Uint8Array;
  readonly metadata: readonly (readonly [string, string])[];
  /** When its caller gives up, by `performance.now()`; infinity if never. */
  readonly expiresAt: number;
}

/** Tells the diagnostics channels of a request that is about to be dealt with, if anybody listens. */
export function tracedRequest(connection: number): CallMessage | undefined {
  if (!serverCalls.active) return undefined;
  const service = "containerd.services.events.ttrpc.v1.Events";
  return serverCalls.start({ service, method: "Forward", kind: "unary", connection });
}

/** An event that came in a request, from its arrival until it is answered and taken. */
export class HeldEvent implements ActiveRequest {
  readonly event: ContainerdEvent;
  /** The bytes of the request. */
  readonly size: number;
  readonly wanted: boolean;
  readonly connection: number;
  readonly passing: Passing | undefined;
  /** `new`: its outcome elsewhere is waited for. `ready`: the consumer may have it. `gone`: nobody will. */
  state: "new" | "ready" | "gone" = "new";
  /** Where it is: waiting for a place in the queue, in it, or out of it. */
  place: "outside" | "queue" | "out" = "out";
  /** The answer, if it is another than an empty message. */
  reply: Uint8Array | undefined = undefined;
  readonly #owner: EventOwner;
  /** The request that waits for an answer; 0 if none does. */
  #call: number;
  /** The request that was aborted and counts for as long as the event is held; 0 if none does. */
  #aborted = 0;
  /** What the diagnostics channels were told of it. */
  #trace: CallMessage | undefined = undefined;

  constructor(
    owner: EventOwner,
    call: number,
    connection: number,
    event: ContainerdEvent,
    size: number,
    wanted: boolean,
    passing: Passing | undefined,
  ) {
    this.#owner = owner;
    this.#call = call;
    this.connection = connection;
    this.event = event;
    this.size = size;
    this.wanted = wanted;
    this.passing = passing;
    owner.port.inbox.requests.set(call, this);
  }

  /** Whether its publisher has had no answer, and waits for one. */
  get waits(): boolean {
    return this.#call !== 0;
  }

  /** It is about to be dealt with. Not to be called while a batch is read. */
  started(): void {
    if (this.#call !== 0) this.#trace = tracedRequest(this.connection);
  }

  /** Answers the request, if it still waits. Not to be called while a batch is read. */
  answer(error?: TtrpcError): void {
    this.letGo();
    const call = this.#call;
    if (call === 0) return;
    this.#call = 0;
    const { port } = this.#owner;
    port.inbox.requests.delete(call);
    port.reply(call, error === undefined ? this.reply : undefined, error);
    this.#ended(error);
  }

  abort(deadline: boolean): void {
    this.#aborted = this.#call;
    this.#call = 0;
    const error = deadline
      ? new TtrpcError("the deadline of the event's publisher passed", Code.DeadlineExceeded)
      : new TtrpcError("the event's publisher has gone", Code.Canceled);
    this.#ended(error);
    this.#owner.aborted(this, deadline);
    if (this.state === "gone") this.letGo();
  }

  /** It waits in no queue any more. */
  letGo(): void {
    const call = this.#aborted;
    this.#aborted = 0;
    if (call !== 0) this.#owner.port.letGo(call);
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
