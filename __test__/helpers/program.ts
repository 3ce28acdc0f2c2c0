import { mkdirSync } from "node:fs";
import { expect } from "vitest";
import { ROOT, type RunOptions, Started } from "./started.js";
import { temporaryPath } from "./temp.js";

export { ROOT };

const TSX = import.meta.resolve("tsx");

/** A TypeScript program in a process of its own. */
export class Program extends Started {
  constructor(file: string, args: readonly string[] = [], options: RunOptions = {}) {
    super(process.execPath, ["--import", TSX, file, ...args], options);
  }
}

/** The outcome of a program. */
export interface Finished {
  readonly status: number | NodeJS.Signals | null;
  readonly output: string;
  readonly errors: string;
}

/** Runs a program to its end. */
export async function run(
  file: string,
  args: readonly string[] = [],
  options?: RunOptions,
): Promise<Finished> {
  await using program = new Program(file, args, options);
  const status = await program.ended();
  return { status, output: program.output, errors: program.errors };
}

/** The outcome of a successful run without errors or warnings. */
export const success = (output: string | RegExp): Finished => ({
  status: 0,
  output: typeof output === "string" ? output : expect.stringMatching(output),
  errors: "",
});

/** A new, empty folder. */
export function temporaryFolder(): string {
  const path = temporaryPath();
  mkdirSync(path);
  return path;
}
