import type { TtrpcError } from "../error.js";
import { port } from "../port/port.js";
import type { ActiveRequest } from "../port/types.js";
import type { ContainerdEvent } from "./event.js";

/** Hears that nobody waits for the answer any more. */
export interface EventOwner {
  aborted(held: HeldEvent, deadline: boolean): void;
}

/** An event as it came, to be passed on. */
export interface Passing {
  readonly payload: Uint8Array;
  readonly metadata: readonly (readonly [string, string])[];
  readonly connection: number;
  /** When its caller gives up, by `performance.now()`; infinity if never. */
  readonly expiresAt: number;
}

/** An event that came in a request, from its arrival until it is answered and taken. */
export class HeldEvent implements ActiveRequest {
  readonly event: ContainerdEvent;
  /** The bytes of the request. */
  readonly size: number;
  readonly wanted: boolean;
  readonly passing: Passing | undefined;
  /** `new`: its outcome elsewhere is waited for. `ready`: the consumer may have it. `gone`: nobody will. */
  state: "new" | "ready" | "gone" = "new";
  /** Where it is: waiting for a place in the queue, in it, or out of it. */
  place: "outside" | "queue" | "out" = "out";
  /** The answer, if it is another than an empty message. */
  reply: Uint8Array | undefined;
  readonly #owner: EventOwner;
  /** The request that waits for an answer; 0 if none does. */
  #call: number;

  constructor(
    owner: EventOwner,
    call: number,
    event: ContainerdEvent,
    size: number,
    wanted: boolean,
    passing: Passing | undefined,
  ) {
    this.#owner = owner;
    this.#call = call;
    this.event = event;
    this.size = size;
    this.wanted = wanted;
    this.passing = passing;
    port("loop").requests.set(call, this);
  }

  /** Whether its publisher has had no answer, and waits for one. */
  get waits(): boolean {
    return this.#call !== 0;
  }

  /** Answers the request, if it still waits. Not to be called while a batch is read. */
  answer(error?: TtrpcError): void {
    const call = this.#call;
    if (call === 0) return;
    this.#call = 0;
    port("loop").requests.delete(call);
    port("loop").reply(call, error === undefined ? this.reply : undefined, error);
  }

  abort(deadline: boolean): void {
    port("loop").requests.delete(this.#call);
    this.#call = 0;
    this.#owner.aborted(this, deadline);
  }

  run(): void {}
  message(): void {}
  end(): void {}
  sent(): void {}
}
