/** `npm run soak:events -- --count 1000000 --publishers 8 --in-flight 64 --stop-seconds 10` */

import { parseArgs } from "node:util";
import { run } from "./run.js";

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "1000000" },
    publishers: { type: "string", default: "8" },
    "in-flight": { type: "string", default: "64" },
    "stop-seconds": { type: "string", default: "10" },
  },
});
const { failures, eventsPerSecond } = await run({
  count: Number(values.count),
  publishers: Number(values.publishers),
  inFlight: Number(values["in-flight"]),
  stopMs: Number(values["stop-seconds"]) * 1000,
  print: console.log,
});
console.log(`${Math.round(eventsPerSecond)} events a second`);
for (const failure of failures) console.error(failure);
process.exitCode = failures.length > 0 ? 1 : 0;
