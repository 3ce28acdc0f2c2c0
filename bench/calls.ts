/** `npm run bench`: builds the peers, measures, and writes the report. `--help` lists the options. */

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { SingleBar } from "cli-progress";
import { contestants } from "./contenders/index.js";
import { Comparison } from "./report/comparison.js";
import { GROWTH_TITLE } from "./report/growth.js";
import { drawPlots } from "./report/plots.js";
import { writeReport } from "./report/report.js";
import { sectionOf, withSection } from "./report/section.js";
import { SHIMS_TITLE, START_TITLE } from "./report/start.js";
import { targets } from "./report/targets.js";
import { buildPeers } from "./run/build.js";
import { readOptions } from "./run/options.js";
import { Processes } from "./run/processes.js";
import { Rounds } from "./run/rounds.js";
import { idOf } from "./work/cases.js";
import { type Costs, idle, loadTimes, memory } from "./work/cost.js";
import { streamCases } from "./work/streams.js";
import { typedCases } from "./work/typed.js";
import { unaryCases } from "./work/unary.js";

const options = readOptions(process.argv.slice(2));
const cases = [...unaryCases, ...streamCases, ...typedCases].filter(
  (one) => (!options.quick || one.quick) && options.wants(one.group, idOf(one)),
);
const measuresCost = (["load", "memory", "idle"] as const).some((name) => options.wants(name));
if (cases.length === 0 && !measuresCost) {
  console.error("--only matches nothing; see --help");
  process.exit(2);
}

const all = contestants(buildPeers(options.profile));
using processes = new Processes();
const rounds = new Rounds(all, cases, options);
const bar = new SingleBar({ format: "{bar} {percentage}% {what}", hideCursor: true });
bar.start(rounds.count, 0, { what: "" });
const measured = await rounds.measure(processes, (what) => bar.increment({ what }));
bar.stop();

const costs: Partial<Costs> = {};
const { quick, wants } = options;
if (wants("load")) costs.load = await loadTimes(processes, all, quick ? 5 : 15);
if (wants("memory")) costs.memory = await memory(processes, all);
if (wants("idle")) {
  costs.idle = await idle(processes, all, quick ? 5 : 10);
}

const run = new Comparison(all, measured, costs);
const plots = await drawPlots(run);
const folder = join(options.output, "plots");
mkdirSync(folder, { recursive: true });
// `growth` measures and draws its own section.
for (const old of readdirSync(folder)) if (old !== "growth.svg") rmSync(join(folder, old));
for (const [name, svg] of plots) writeFileSync(join(folder, `${name}.svg`), svg);
const report = join(options.output, "report.md");
// The sections of other benches stay.
const before = existsSync(report) ? readFileSync(report, "utf8") : "";
const kept = [GROWTH_TITLE, START_TITLE, SHIMS_TITLE].flatMap((title) => sectionOf(before, title) ?? []);
writeFileSync(report, kept.reduce(withSection, writeReport(run, options, [...plots.keys()])));

console.table(targets(run).filter(({ verdict }) => verdict !== "not measured"));
console.log(`wrote ${relative(process.cwd(), report)}`);
