/** Answers questions about the measurements. */

import type { Contestant, Name } from "../contenders/index.js";
import type { Measurement } from "../run/processes.js";
import type { Measured } from "../run/rounds.js";
import type { Costs } from "../work/cost.js";
import { ratios, type Spread, spread } from "./statistics.js";

/** A figure of a result. */
export type Metric = "perSecond" | "p50Us" | "p99Us" | "cpuUs" | "serverCpuUs";

/** A run. */
export class Comparison {
  readonly #byId: ReadonlyMap<string, Measured>;

  constructor(
    readonly contestants: ReadonlyMap<Name, Contestant>,
    readonly measured: readonly Measured[],
    readonly costs: Partial<Costs>,
  ) {
    this.#byId = new Map(measured.map((one) => [one.id, one]));
  }

  get(id: string): Measured | undefined {
    return this.#byId.get(id);
  }

  label(name: Name): string {
    return this.contestants.get(name)?.label ?? name;
  }

  /** A contender's figure in a case. */
  figure(id: string, name: Name, metric: Metric = "perSecond"): Spread | undefined {
    const values = this.#values(id, name, metric);
    return values && spread(values);
  }

  /** The ratio of a contender's figure to another's, round by round. */
  ratio(id: string, name: Name, other: Name, metric: Metric = "perSecond"): Spread | undefined {
    const [ours, theirs] = [this.#values(id, name, metric), this.#values(id, other, metric)];
    return ours && theirs && ratios(ours, theirs);
  }

  #values(id: string, name: Name, metric: Metric): number[] | undefined {
    const results: readonly Measurement[] | undefined = this.#byId.get(id)?.results.get(name);
    const values = results?.map((result) => result[metric]).filter((value) => value !== null);
    return values === undefined || values.length === 0 ? undefined : values;
  }
}
