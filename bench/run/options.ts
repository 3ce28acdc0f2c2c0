/** The arguments of `npm run bench`. */

import { join } from "node:path";
import { parseArgs } from "node:util";

const HELP = `Compares this package with plain JavaScript, native Rust, Go and grpc-js, and writes a report.

  npm run bench                      everything, in about 8 minutes; writes bench/report.md and bench/plots
  npm run bench -- --quick           what matters most, in less than a minute; writes below artifacts/bench
  npm run bench -- --only unary,idle groups (unary, streams, typed, load, memory, idle), or parts of the names that a
                                     run prints, such as client/unary/64; writes below artifacts/bench
  npm run bench -- codec             the codec, see bench/codec.ts

  --rounds N     how often each measurement is made, 5, or 3 in a quick run
  --seconds S    how long a measurement takes, 0.3, or 0.15 in a quick run
  --output DIR   where report.md and plots/ are written
  --profile dev  uses the peers that the tests build, which are not optimised: to try the bench itself`;

export interface Options {
  readonly quick: boolean;
  /** Whether to measure a name or its group. */
  wants(group: string, name?: string): boolean;
  readonly rounds: number;
  readonly durationMs: number;
  readonly warmupMs: number;
  readonly output: string;
  /** Cargo's profile for the Rust peer. */
  readonly profile: "dev" | "release";
}

const ROOT = join(import.meta.dirname, "../..");

/** Reads the arguments. Prints the help and ends the process if that is asked for, or if they are wrong. */
export function readOptions(args: readonly string[]): Options {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        quick: { type: "boolean", default: false },
        only: { type: "string" },
        rounds: { type: "string" },
        seconds: { type: "string" },
        output: { type: "string" },
        profile: { type: "string", default: "release" },
        help: { type: "boolean", short: "h", default: false },
      },
    });
    if (values.help) {
      console.log(HELP);
      process.exit(0);
    }
    const { quick, only, profile } = values;
    if (profile !== "dev" && profile !== "release") throw new Error("--profile must be dev or release");
    const parts = only?.split(",").filter((part) => part !== "");
    const isFull = !quick && parts === undefined;
    return {
      quick,
      wants: (group, name = group) =>
        parts === undefined || parts.some((part) => part === group || name.includes(part)),
      rounds: Math.ceil(positive("rounds", values.rounds, quick ? 3 : 5)),
      durationMs: positive("seconds", values.seconds, quick ? 0.15 : 0.3) * 1000,
      warmupMs: quick ? 30 : 60,
      output: values.output ?? join(ROOT, isFull ? "bench" : "artifacts/bench"),
      profile,
    };
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${HELP}`);
    return process.exit(2);
  }
}

function positive(name: string, text: string | undefined, otherwise: number): number {
  const number = text === undefined ? otherwise : Number(text);
  if (!(number > 0)) throw new Error(`--${name} must be a number above 0, not ${text}`);
  return number;
}
