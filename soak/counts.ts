/** Counts what has happened, by name. */
export class Counts {
  readonly #counts = new Map<string, number>();
  /** What should not have happened, in words. */
  readonly failures: string[] = [];

  add(name: string, count = 1): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + count);
  }

  get(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  fail(what: string): void {
    this.add("FAILED");
    // The first few are enough.
    if (this.failures.length < 20) this.failures.push(what);
  }

  toString(): string {
    return [...this.#counts]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, count]) => `${name} ${count}`)
      .join(", ");
  }
}
