import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { connect } from "containerd-shim-protos";
import { limitGenerations } from "../dist/native/slots.js";
import { randomCall, slowStream } from "./calls.js";
import { Counts } from "./counts.js";
import { brokenClient, brokenServer, Child } from "./faults.js";
import { Random } from "./random.js";
import { soakServer } from "./service.js";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "600" },
    seed: { type: "string" },
    /** How often a slot of a call is used. The default is so low that slots wear out all the time. */
    generations: { type: "string", default: "1000" },
  },
});
const seconds = Number(values.seconds);
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 32));
limitGenerations(Number(values.generations));
if (!(seconds >= 10) || !Number.isInteger(seed)) {
  throw new TypeError("soak takes --seconds, 10 or more, and --seed, an integer");
}

/**
 * How many bytes larger the process may be at the end than after the warm-up. Its memory rises in steps while the
 * allocators' arenas settle, and then stays level. A leak of a hundred bytes in each call would show within ten
 * minutes.
 */
const MARGIN = 40 << 20;

/** The same for JavaScript memory, which has no such steps. */
const HEAP_MARGIN = 4 << 20;

/**
 * How many bytes the process may ever grow by from its start, whatever hostile peers send. The sum of what a server's
 * limits allow: requests being handled, waiting frames and messages (a quarter each), replies that nobody reads (half, and
 * what running handlers may reply with), and 64 KiB for each connection; of what the soak's own calls hold; and of what a
 * process needs to handle the largest messages one by one, which its allocator and V8 keep for a while.
 */
const QUEUED = 64 << 20;
const PEAK = 2 * QUEUED + (32 << 20) + 300 * (64 << 10) + (32 << 20) + (96 << 20);

/** The part of the run that warms up: caches, pools and the allocator's arenas fill. */
const WARM_UP = 0.3;

const PRINT_MS = 5000;

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

const counts = new Counts();
const folder = mkdtempSync("/tmp/ttrpc-soak-");
const random = new Random(seed);

/** Makes random calls on one connection, which is reopened whenever its server is killed. */
async function callers(address: string, goesOn: () => boolean): Promise<void> {
  const reconnect = { initialDelayMs: 20, maxDelayMs: 200 };
  // A child takes a while to start on a busy machine.
  const connectTimeoutMs = 60_000;
  const connection = await connect(address, { waitForReady: true, reconnect, connectTimeoutMs });
  const lane = async (its: Random) => {
    while (goesOn()) await randomCall(connection, its, counts);
  };
  await Promise.all(Array.from({ length: 6 }, () => lane(random.fork())));
  await connection.close();
}

/** One child after the other, each killed (kill -9) in the middle of its work. */
async function killed(args: readonly string[], goesOn: () => boolean, ms = 3000): Promise<void> {
  while (goesOn()) {
    const child = await Child.start(args, counts);
    await sleep(Math.min(200 + random.below(ms), Math.max(0, until - performance.now())));
    await child.kill();
    counts.add(`killed ${args[0]}s`);
  }
}

/** Opens streams that are read slowly or not at all, and then left. */
async function slow(address: string, goesOn: () => boolean): Promise<void> {
  const its = random.fork();
  while (goesOn()) {
    const connection = await connect(address).catch(() => undefined);
    if (connection === undefined) await sleep(50);
    else await slowStream(connection, its, counts);
  }
}

/** Runs peers that send what no correct peer sends, a few each second. */
async function broken(ours: string, goesOn: () => boolean): Promise<void> {
  const its = random.fork();
  for (let count = 0; goesOn(); count++) {
    await brokenClient(ours, its, counts);
    await brokenServer(join(folder, `broken-${count}.sock`), its, counts);
    await sleep(20);
  }
}

/** When the phase ends. */
let until = 0;

/** Everything at once for a while; when it resolves, all of it has ended. */
async function phase(ms: number): Promise<void> {
  until = performance.now() + ms;
  const goesOn = () => performance.now() < until;
  const [ours, theirs] = [join(folder, "ours.sock"), join(folder, "theirs.sock")];
  const server = soakServer(counts);
  await server.listen(`unix://${ours}`, { reclaimStale: true });
  await Promise.all([
    callers(`unix://${theirs}`, goesOn),
    callers(`unix://${ours}`, goesOn),
    killed(["server", `unix://${theirs}`], goesOn),
    killed(["client", `unix://${ours}`, String(random.below(2 ** 31))], goesOn),
    slow(`unix://${theirs}`, goesOn),
    slow(`unix://${ours}`, goesOn),
    broken(ours, goesOn),
    killed(["hostile", `unix://${ours}`, String(random.below(2 ** 31))], goesOn, 10_000),
  ]);
  await server.close({ graceMs: 0 });
}

interface Level {
  readonly rss: number;
  readonly heap: number;
  readonly buffers: number;
  readonly descriptors: number;
  readonly resources: string;
  readonly handlers: number;
}

/** Measures what is left when everything has ended. */
async function level(): Promise<Level> {
  // Handlers whose callers were killed learn of it in a later turn of the event loop.
  for (let tries = 0; tries < 500 && counts.get("entered") !== counts.get("left"); tries++) await sleep(10);
  for (let round = 0; round < 5; round++) {
    collectGarbage();
    await turn();
  }
  const { rss, heapUsed, arrayBuffers } = process.memoryUsage();
  return {
    rss,
    heap: heapUsed,
    buffers: arrayBuffers,
    descriptors: readdirSync("/proc/self/fd").length,
    resources: process.getActiveResourcesInfo().toSorted().join(" "),
    handlers: counts.get("entered") - counts.get("left"),
  };
}

const mib = (size: number) => `${(size / 2 ** 20).toFixed(1)} MiB`;

function show(name: string, { rss, heap, buffers, descriptors, resources, handlers }: Level): void {
  console.log(
    `${name}: rss ${mib(rss)}, heap ${mib(heap)}, buffers ${mib(buffers)}, ${descriptors} descriptors, ${handlers} handlers, resources [${resources}]`,
  );
}

// Node warns about leaks that no count below shows.
process.on("warning", (warning) => counts.fail(`${warning.name}: ${warning.message}`));

/** The peak of the resident memory since the process began. */
function peak(): number {
  const most = /VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "latin1"))?.[1];
  return Number(most) * 1024;
}

const start = performance.now();
const first = await level();
const printer = setInterval(() => {
  const at = ((performance.now() - start) / 1000).toFixed(0);
  console.log(`${at} s, rss ${mib(process.memoryUsage.rss())}: ${counts}`);
}, PRINT_MS).unref();

console.log(`seed ${seed}, ${seconds} s`);
await phase(seconds * WARM_UP * 1000);
const before = await level();
show("after the warm-up", before);
await phase(seconds * (1 - WARM_UP) * 1000);
clearInterval(printer);
const after = await level();
show("at the end", after);
console.log(String(counts));
rmSync(folder, { recursive: true, force: true });

const risen = peak() - first.rss;
console.log(`memory rose by at most ${mib(risen)}; the limit is ${mib(PEAK)}`);
if (risen > PEAK) counts.fail(`memory rose by ${mib(risen)}, more than ${mib(PEAK)}`);
if (after.rss > before.rss + MARGIN) {
  counts.fail(`memory grew by ${mib(after.rss - before.rss)}, more than ${mib(MARGIN)}`);
}
for (const name of ["heap", "buffers"] as const) {
  const grown = after[name] - before[name];
  if (grown > HEAP_MARGIN) counts.fail(`${name} grew by ${mib(grown)}, more than ${mib(HEAP_MARGIN)}`);
}
if (after.descriptors > before.descriptors) {
  counts.fail(`descriptors grew from ${before.descriptors} to ${after.descriptors}`);
}
if (after.resources !== before.resources) {
  counts.fail(`what keeps the process alive changed from [${before.resources}] to [${after.resources}]`);
}
if (after.handlers !== 0) counts.fail(`${after.handlers} handlers did not end`);
for (const name of [
  "answered",
  "Unavailable",
  "Canceled",
  "DeadlineExceeded",
  "slow",
  "broken clients",
  "broken servers",
  "hostilities",
]) {
  if (counts.get(name) === 0) counts.fail(`nothing was counted as ${name}: the soak tests less than it says`);
}
for (const failure of counts.failures) console.error(`FAILED: ${failure}`);
console.log(counts.failures.length === 0 ? "all good" : `${counts.get("FAILED")} failures, seed ${seed}`);
process.exitCode = counts.failures.length === 0 ? 0 : 1;
