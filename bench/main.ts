/** `npm run bench` measures calls, `-- codec` the codec, `-- events` the stream of events, `-- growth` what piles up; each file says what else it takes. */

const benches: Record<string, () => Promise<unknown>> = {
  calls: () => import("./calls.js"),
  codec: () => import("./codec.js"),
  events: () => import("./events.js"),
  growth: () => import("./growth.js"),
};

const name = process.argv[2] ?? "";
const isNamed = Object.hasOwn(benches, name);
// What follows the name is for the bench itself.
if (isNamed) process.argv.splice(2, 1);
await benches[isNamed ? name : "calls"]?.();
