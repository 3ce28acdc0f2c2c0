/** The comparison of calls: arguments, and the order of work. */

import { parseArgs } from "node:util";
import { SingleBar } from "cli-progress";
import { entrants } from "./contenders/index.js";
import { ratios, spread } from "./report/statistics.js";
import { Processes } from "./run/processes.js";
import { countMeasurements, measureCases, type Pace } from "./run/rounds.js";
import { caseId } from "./work/cases.js";
import { streamCases } from "./work/streams.js";
import { typedCases } from "./work/typed.js";
import { unaryCases } from "./work/unary.js";

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string", default: "" },
    rounds: { type: "string" },
    seconds: { type: "string" },
  },
});

const wanted = values.only === "" ? [] : values.only.split(",");
const cases = [...unaryCases, ...streamCases, ...typedCases].filter(
  (each) =>
    (!values.quick || each.quick) &&
    (wanted.length === 0 || wanted.some((name) => caseId(each).includes(name) || each.group === name)),
);
const pace: Pace = {
  rounds: Number(values.rounds ?? (values.quick ? 3 : 5)),
  durationMs: Number(values.seconds ?? (values.quick ? 0.2 : 0.4)) * 1000,
  warmupMs: values.quick ? 30 : 60,
};

using processes = new Processes();
const bar = new SingleBar({ format: "{bar} {value}/{total} {what}", hideCursor: true });
bar.start(countMeasurements(cases, pace), 0, { what: "" });
const measured = await measureCases(processes, cases, pace, (what) => bar.increment({ what }));
bar.stop();

console.table(
  Object.fromEntries(
    measured.map(({ id, results }) => {
      const ours = results.get("package")?.map(({ perSecond }) => perSecond) ?? [];
      const row: Record<string, unknown> = {};
      for (const { name } of entrants) {
        const theirs = results.get(name)?.map(({ perSecond }) => perSecond);
        if (theirs !== undefined) row[name] = Math.round(spread(theirs).median);
      }
      for (const name of ["plain", "native"] as const) {
        const theirs = results.get(name)?.map(({ perSecond }) => perSecond) ?? [];
        const { median, min, max } = ratios(ours, theirs);
        row[`of ${name}`] = `${median.toFixed(2)} (${min.toFixed(2)} to ${max.toFixed(2)})`;
      }
      return [id, row];
    }),
  ),
);
