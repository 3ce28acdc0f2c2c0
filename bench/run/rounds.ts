/** Runs cases in rounds: in a round, the contenders of a case follow one another, each time another one first. */

import type { Name } from "../contenders/index.js";
import type { Result } from "../job.js";
import { type Case, caseId, entrant, pairing } from "../work/cases.js";
import type { Processes } from "./processes.js";

/** Each contender's results of a case, round by round. */
export interface Measured {
  readonly id: string;
  readonly case: Case;
  readonly results: Map<Name, Result[]>;
}

export interface Pace {
  readonly rounds: number;
  readonly durationMs: number;
  readonly warmupMs: number;
}

/** How many measurements {@link measureCases} makes. */
export function countMeasurements(cases: readonly Case[], { rounds }: Pace): number {
  return cases.reduce((sum, { names }) => sum + names.filter(isAvailable).length, 0) * (rounds + 1);
}

/** Measures; `step` is told before each measurement. */
export async function measureCases(
  processes: Processes,
  cases: readonly Case[],
  pace: Pace,
  step: (what: string) => void,
): Promise<Measured[]> {
  const all = cases.map((one): Measured => {
    const names = one.names.filter(isAvailable);
    return { id: caseId(one), case: one, results: new Map(names.map((name) => [name, []])) };
  });
  // The round before the first one warms up.
  for (let round = -1; round < pace.rounds; round++) {
    for (const { id, case: one, results } of all) {
      const names = [...results.keys()];
      const first = (round + names.length) % names.length;
      for (const name of [...names.slice(first), ...names.slice(0, first)]) {
        step(`${id} ${name}`);
        const { client, server } = pairing(name, one.side);
        const { work, size, inflight, connections } = one;
        const { warmupMs } = pace;
        const durationMs = round < 0 ? warmupMs : pace.durationMs;
        const job = { work, size, inflight, connections, warmupMs, durationMs };
        const result = await processes.measure(client, server, job);
        if (round >= 0) results.get(name)?.push(result);
      }
    }
  }
  return all;
}

function isAvailable(name: Name): boolean {
  return entrant(name).available();
}
