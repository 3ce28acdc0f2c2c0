/**
 * The parity run: compares every message type with Rust for the requested time.
 *
 *     npm run parity -- --seconds 600 --seed 7
 */

import { parseArgs } from "node:util";
import { buildParityPeer } from "./build.js";
import { compareType, type Mismatch, Report } from "./compare.js";
import { ParityPeer } from "./peer.js";
import { pairTypes } from "./types.js";

/** How many values of a type each side generates before the next type's turn. */
const ROUND = 250;

/** More mismatches would teach nothing new. */
const ENOUGH = 20;

const usage = `Usage: npm run parity -- [--seconds N] [--seed S] [--type NAME]

  --seconds N  compare for N seconds, and every type at least once (default 60)
  --seed S     start with this seed (default: the time)
  --type NAME  compare only the types whose full names contain NAME`;

interface Options {
  readonly seconds: number;
  readonly seed: number;
  readonly type: string;
}

function readOptions(): Options | undefined {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "60" },
      seed: { type: "string", default: String(Date.now() % 2 ** 31) },
      type: { type: "string", default: "" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return undefined;
  const [seconds, seed] = [Number(values.seconds), Number(values.seed)];
  if (!(seconds >= 0)) throw new Error(`--seconds must be a number, not ${JSON.stringify(values.seconds)}`);
  if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 31) {
    throw new Error(`--seed must be an integer from 0 to 2147483647, not ${JSON.stringify(values.seed)}`);
  }
  return { seconds, seed, type: values.type };
}

async function main(): Promise<number> {
  const options = readOptions();
  if (options === undefined) {
    process.stdout.write(`${usage}\n`);
    return 0;
  }
  using peer = new ParityPeer(buildParityPeer());
  const { pairs, problems } = pairTypes(await peer.types());
  const chosen = pairs.filter(({ desc }) => desc.typeName.includes(options.type));
  if (chosen.length === 0) throw new Error(`no type has ${JSON.stringify(options.type)} in its name`);

  const report = new Report();
  const start = performance.now();
  const elapsed = () => (performance.now() - start) / 1000;
  process.stdout.write(`seed ${options.seed}\n`);
  for (let round = 0; round === 0 || elapsed() < options.seconds; round++) {
    const seed = (options.seed + round) % 2 ** 31;
    for (const { desc, type } of chosen) {
      await compareType(report, { peer, desc, type, seed, count: ROUND });
      if (report.mismatches.length >= ENOUGH || (round > 0 && elapsed() >= options.seconds)) break;
    }
    if (report.mismatches.length >= ENOUGH) break;
  }
  for (const problem of problems) process.stdout.write(`${problem}\n`);
  for (const mismatch of report.mismatches) process.stdout.write(`${describe(mismatch)}\n`);
  process.stdout.write(`${report.toString()}; ${elapsed().toFixed(1)} s\n`);
  return report.mismatches.length + problems.length === 0 ? 0 : 1;
}

function describe({ type, from, seed, index, what, node, rust }: Mismatch): string {
  const cut = (text: string) => (text.length > 2000 ? `${text.slice(0, 2000)}… (${text.length})` : text);
  return `${type}, value ${index} of ${from}, seed ${seed}: ${what}\n  Node ${cut(node)}\n  Rust ${cut(rust)}`;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`parity: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
