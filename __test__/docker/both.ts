import { expect } from "vitest";
import { Containers } from "./containers.js";
import type { Engine } from "./engine.js";
import { NODE, OWN } from "./runtimes.js";

/** What a scenario does with the containers of one runtime; whatever it resolves to must be the same for both. */
export type Scenario = (containers: Containers, together: Together) => Promise<unknown>;

/** Resolves once both scenarios have come this far and the first one's action has been done. */
export type Together = (action: () => Promise<unknown>) => Promise<void>;

/** What is not compared. */
export interface BothOptions {
  /** Whether the order of the events is the shim's, not that of several clients at once. The default is true. */
  readonly compareEvents?: boolean;
}

/**
 * A test of a scenario, which runs with containerd's own shim and with shim-runc at the same time. It fails if anything
 * separates them: what the scenario resolves to, the states of its containers, or their events.
 */
export function both(engine: () => Engine, scenario: Scenario): () => Promise<void>;
export function both(engine: () => Engine, options: BothOptions, scenario: Scenario): () => Promise<void>;
export function both(
  engine: () => Engine,
  ...rest: [Scenario] | [BothOptions, Scenario]
): () => Promise<void> {
  const [{ compareEvents = true }, scenario] = rest.length === 1 ? [{}, rest[0]] : rest;
  return async () => {
    const meeting = new Meeting();
    const outcomes = await Promise.allSettled(
      [OWN, NODE].map(async (runtime) => {
        const containers = new Containers(engine(), runtime);
        try {
          const result = await scenario(containers, (action) => meeting.come(action));
          const { states, events } = await containers.account();
          return { result, states, events: compareEvents ? events : [] };
        } catch (error) {
          meeting.callOff(error);
          if (error instanceof Error) error.message = `with ${runtime.name}: ${error.message}`;
          throw error;
        }
      }),
    );
    // The first failure: the other may only follow from it.
    if (meeting.calledOff) throw meeting.reason;
    const [own, ours] = outcomes.map((outcome) => outcome.status === "fulfilled" && outcome.value);
    expect(ours).toEqual(own);
  };
}

/** Where two meet, as often as they like. */
class Meeting {
  #waiting: Waiting | undefined;
  #calledOff = false;
  #reason: unknown;

  get calledOff(): boolean {
    return this.#calledOff;
  }

  /** Why it was called off first. */
  get reason(): unknown {
    return this.#reason;
  }

  async come(action: () => Promise<unknown>): Promise<void> {
    if (this.#calledOff) throw new Error("the other runtime has failed");
    const first = this.#waiting;
    if (first === undefined) {
      await new Promise<void>((resolve, reject) => (this.#waiting = { resolve, reject }));
      return;
    }
    this.#waiting = undefined;
    try {
      await action();
      first.resolve();
    } catch (error) {
      first.reject(error);
      throw error;
    }
  }

  /** One of the two will not come any more. */
  callOff(reason: unknown): void {
    if (!this.#calledOff) this.#reason = reason;
    this.#calledOff = true;
    this.#waiting?.reject(new Error("the other runtime has failed"));
    this.#waiting = undefined;
  }
}

interface Waiting {
  resolve(): void;
  reject(reason: unknown): void;
}
