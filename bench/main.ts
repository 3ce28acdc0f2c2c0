/**
 * `npm run bench` measures calls, `-- codec` the codec, `-- events` the stream of events, `-- growth` costs under
 * load, and `-- start` loading and memory; each file describes its other options.
 */

const benches: Record<string, () => Promise<unknown>> = {
  calls: () => import("./calls.js"),
  codec: () => import("./codec.js"),
  events: () => import("./events.js"),
  growth: () => import("./growth.js"),
  start: () => import("./start.js"),
};

const name = process.argv[2] ?? "";
const isNamed = Object.hasOwn(benches, name);
// The arguments after the name are for that bench.
if (isNamed) process.argv.splice(2, 1);
await benches[isNamed ? name : "calls"]?.();
