/**
 * Runs cases in rounds. In a round, the contenders of a case follow one another; each round starts with another one.
 */

import type { Contestant, Name } from "../contenders/index.js";
import { type Case, idOf, pairing } from "../work/cases.js";
import type { Measurement, Processes } from "./processes.js";

/** Each contender's results of a case, round by round. */
export interface Measured {
  readonly id: string;
  readonly case: Case;
  readonly results: ReadonlyMap<Name, Measurement[]>;
}

export interface Pace {
  readonly rounds: number;
  readonly durationMs: number;
  readonly warmupMs: number;
}

/** The measurements to make, in rounds. */
export class Rounds {
  readonly #contestants: ReadonlyMap<Name, Contestant>;
  readonly #pace: Pace;
  readonly #measured: Measured[];

  constructor(contestants: ReadonlyMap<Name, Contestant>, cases: readonly Case[], pace: Pace) {
    this.#contestants = contestants;
    this.#pace = pace;
    this.#measured = cases.map((one) => {
      const names = one.names.filter((name) => contestants.get(name)?.missing === undefined);
      return { id: idOf(one), case: one, results: new Map(names.map((name) => [name, []])) };
    });
  }

  /** The number of measurements to make. */
  get count(): number {
    return this.#measured.reduce((sum, { results }) => sum + results.size, 0) * (this.#pace.rounds + 1);
  }

  /** Makes all measurements; calls `step` before each. */
  async measure(processes: Processes, step: (what: string) => void): Promise<readonly Measured[]> {
    const { rounds, warmupMs, durationMs } = this.#pace;
    // Round -1 warms up.
    for (let round = -1; round < rounds; round++) {
      for (const { id, case: one, results } of this.#measured) {
        const names = [...results.keys()];
        const first = (round + names.length) % Math.max(1, names.length);
        for (const name of [...names.slice(first), ...names.slice(0, first)]) {
          step(`${id} ${name}`);
          const { client, server } = pairing(this.#contestants, name, one.side);
          const { work, size, inflight, connections } = one;
          const job = { work, size, inflight, connections, warmupMs };
          const all = { ...job, durationMs: round < 0 ? warmupMs : durationMs };
          const result = await processes.measure(client, server, all).catch((cause: unknown) => {
            throw new Error(`${id} of ${name} failed`, { cause });
          });
          if (round >= 0) results.get(name)?.push(result);
        }
      }
    }
    return this.#measured;
  }
}
