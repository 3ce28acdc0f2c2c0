/**
 * `npm run bench -- start`: what a program pays before it is at work, and what it then holds: clients beside grpc-js, and
 * shims beside containerd's own. Writes its sections of report.md. `--only clients` or `--only shims` measures one of
 * them, `--rounds N` takes other than 21 rounds, `--idle SECONDS` watches an idle shim for other than ten, `--output FOLDER`
 * writes elsewhere. The shims need root, containerd 1.x
 * with runc, and Go for containerd 2.x; a containerd that cannot run is left out, and the output says why.
 */

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { buildContainerd2 } from "../__test__/containerd/build-containerd2.js";
import { Containerd } from "../__test__/containerd/containerd.js";
import { builtRelease, packaged } from "../__test__/containerd/release.js";
import { withSection } from "./report/section.js";
import { type ShimFigures, shimsSection, startSection } from "./report/start.js";
import { clientRows } from "./start/clients.js";
import { shimFigures } from "./start/shims.js";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "21" },
    idle: { type: "string", default: "10" },
    only: { type: "string" },
    output: { type: "string", default: import.meta.dirname },
  },
});
const { only } = values;
const ROUNDS = Number(values.rounds);
if (!Number.isInteger(ROUNDS) || ROUNDS < 1) throw new Error("--rounds must be a positive integer");
const idleSeconds = Number(values.idle);
if (!(idleSeconds > 0)) throw new Error("--idle must be a positive number of seconds");
if (only !== undefined && only !== "clients" && only !== "shims")
  throw new Error("--only must be clients or shims");

async function clients(): Promise<string> {
  const rows = await clientRows(ROUNDS);
  console.table(
    rows.map(({ what, measured: { median }, other, goal }) => ({
      what,
      median: median.toFixed(2),
      other: other?.median.toFixed(2),
      goal,
    })),
  );
  return startSection(rows, ROUNDS);
}

async function shims(): Promise<string | undefined> {
  const go = spawnSync("go", ["version"]).error === undefined;
  const versions = new Map<string, ShimFigures[]>();
  for (const release of [packaged, builtRelease(go ? buildContainerd2() : null)]) {
    if (release.missing.length > 0) {
      console.log(`${release.name} is left out: needs ${release.missing.join(", ")}`);
      continue;
    }
    await using containerd = await Containerd.start({ release, logLevel: "warn" });
    const version = (await containerd.ctr.version()).replace(/^v|[~+].*$/g, "");
    const figures = await shimFigures(containerd, { rounds: ROUNDS, idleSeconds });
    versions.set(version, figures);
    console.log(`containerd ${version}`);
    console.table(
      figures.map(({ what, unit, own, runc, ratio, skeleton }) => ({
        what: `${what}${unit === "" ? "" : `,${unit}`}`,
        own: own.median.toFixed(1),
        "shim-runc": `${runc.median.toFixed(1)} (${runc.low.toFixed(1)} to ${runc.high.toFixed(1)})`,
        ratio: ratio?.median.toFixed(2),
        "shim-skeleton": skeleton?.median.toFixed(1),
      })),
    );
  }
  return versions.size === 0 ? undefined : shimsSection(versions, ROUNDS, process.version.slice(1));
}

const sections = [
  only === "shims" ? undefined : await clients(),
  only === "clients" ? undefined : await shims(),
];
mkdirSync(values.output, { recursive: true });
const report = join(values.output, "report.md");
let text = existsSync(report) ? readFileSync(report, "utf8") : "# Benchmark\n";
for (const section of sections) if (section !== undefined) text = withSection(text, section);
writeFileSync(report, text);
console.log(`wrote ${report}`);
