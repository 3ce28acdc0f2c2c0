/** `npm run bench` measures calls, `-- codec` the codec, `-- events` the stream of events; each file says what else it takes. */

const benches: Record<string, () => Promise<unknown>> = {
  unary: () => import("./unary.js"),
  codec: () => import("./codec.js"),
  events: () => import("./events.js"),
};

const bench = benches[process.argv[2] ?? ""];
// What follows the name is for the bench itself.
if (bench !== undefined) process.argv.splice(2, 1);
await(bench ?? benches["unary"])?.();
