/**
 * `npm run bench -- growth`: what calls cost a server when connections, streams and calls pile up on it, in CPU time and as
 * ratios to a server without them. Writes its section of report.md, and a plot. `--most N` opens up to N connections
 * instead of 50 000, as far as descriptors allow; `--streams N`, `--calls N` and `--publishers N` open other numbers than
 * 10 000, 100 000 and 1 000; `--rounds N` measures each N times after two that warm up, instead of 10; `--output FOLDER`
 * writes elsewhere.
 */

import { execSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect as connectSocket, type Socket } from "node:net";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { connect, type Connection } from "containerd-shim-protos";
import { encodeFrame, encodeRequest, FrameType } from "../__test__/helpers/wire.js";
import { field } from "../__test__/hostile/attacks.js";
import { SERVICE } from "./job.js";
import { drawGrowth, type Grown, type GrowthPoint, growthSection } from "./report/growth.js";
import { withSection } from "./report/section.js";
import { spread } from "./report/statistics.js";

interface State {
  readonly cpuUs: number;
  readonly resident: number;
  /** The number of calls whose handlers wait. */
  readonly blocked: number;
  /** The number of events taken. */
  readonly taken: number;
}

const { values } = parseArgs({
  options: {
    most: { type: "string", default: "50000" },
    streams: { type: "string", default: "10000" },
    calls: { type: "string", default: "100000" },
    publishers: { type: "string", default: "1000" },
    rounds: { type: "string", default: "10" },
    output: { type: "string", default: import.meta.dirname },
  },
});
const descriptors = Number(execSync("ulimit -n", { shell: "/bin/sh", encoding: "utf8" }));
const MOST = Math.min(Number(values.most), descriptors - 200);
const STREAMS = Number(values.streams);
const CALLS = Number(values.calls);
const PUBLISHERS = Number(values.publishers);
const ROUNDS = Number(values.rounds);
/** The number of events that all publishers together send at once. */
const EVENTS = 20 * PUBLISHERS;
const ONE = new Uint8Array(1);
const folder = mkdtempSync(join(tmpdir(), "ttrpc-growth-"));

/** A server in a separate process. */
class Server implements AsyncDisposable {
  readonly #child;
  readonly #lines: AsyncIterator<string>;
  readonly path = join(folder, `${Math.random()}.sock`);

  constructor(readonly driver: "loop" | "thread") {
    const script = join(import.meta.dirname, "contenders/growing.ts");
    const args = ["--expose-gc", "--import", "tsx", script, driver, this.path];
    this.#child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error("the server has ended");
    return value;
  }

  async ask(line = "state"): Promise<State> {
    this.#child.stdin.write(`${line}\n`);
    return JSON.parse(await this.line()) as State;
  }

  connect(): Promise<Connection> {
    return connect(`unix://${this.path}`, { driver: this.driver });
  }

  /** The CPU time of each of `count` units of work. */
  async cost(count: number, work: () => Promise<unknown>): Promise<number> {
    const before = await this.ask();
    await work();
    return ((await this.ask()).cpuUs - before.cpuUs) / count;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#child, "close");
    this.#child.kill("SIGKILL");
    await closed;
  }
}

/** The number of rounds that warm up. */
const WARM_UP = 2;

/** The number of calls in a measurement. */
const MEASURED = 10_000;

/**
 * Makes calls, a hundred at once. One at a time, a call costs one of two figures, the one four times the other, depending
 * on where the scheduler puts the two processes.
 */
async function calls(connection: Connection): Promise<void> {
  const call = () => connection.unary(SERVICE, "Echo", ONE);
  for (let left = MEASURED; left > 0; left -= 100) await Promise.all(Array.from({ length: 100 }, call));
}

/** A request that publishes an event. */
function event(streamId: number): Buffer {
  const envelope = Buffer.concat([
    field(1, Buffer.from([8, 0x80, 0xe2, 0xcf, 0xaa, 6])),
    field(2, Buffer.from("default")),
    field(3, Buffer.from("/tasks/start")),
    field(4, field(1, Buffer.from("containerd.events.TaskStart"))),
  ]);
  const service = "containerd.services.events.ttrpc.v1.Events";
  const body = encodeRequest({ service, method: "Forward", payload: field(1, envelope) });
  return encodeFrame({ streamId, type: FrameType.Request, body });
}

/** Reads a stream of 40 MiB. */
async function source(connection: Connection): Promise<void> {
  for await (const _ of connection.serverStreaming(SERVICE, "Source", Buffer.from("640")));
}

/** The median CPU times of the same work with two servers, in turns, so that other load on the machine affects both. */
async function compared(
  alone: () => Promise<number>,
  beside: () => Promise<number>,
): Promise<{ alone: number; beside: number; ratio: number }> {
  const costs: [number, number][] = [];
  for (let round = -WARM_UP; round < ROUNDS; round++) costs.push([await alone(), await beside()]);
  const warm = costs.slice(WARM_UP);
  const middle = (of: (pair: [number, number]) => number) => spread(warm.map(of)).median;
  return {
    alone: middle(([one]) => one),
    beside: middle(([, two]) => two),
    ratio: middle(([one, two]) => two / one),
  };
}

const grown: Grown[] = [];
const points: GrowthPoint[] = [];

function tell(one: Grown): void {
  grown.push(one);
  const { driver, what, alone, beside, unit } = one;
  const from = alone === undefined ? "" : `${alone.toFixed(1)} → `;
  console.log(`${driver}: ${what}: ${from}${beside.toFixed(1)} ${unit}`);
}

/** Opens sockets until there are `count`. */
async function fill(sockets: Socket[], count: number, path: string): Promise<void> {
  while (sockets.length < count) {
    const socket = connectSocket(path).resume();
    await once(socket, "connect");
    sockets.push(socket);
  }
}

/** Opens streams that stay until the returned function ends them. */
function open(connection: Connection, count: number): () => Promise<unknown> {
  let end: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => (end = resolve));
  const streams = Array.from({ length: count }, async () => {
    // oxlint-disable-next-line require-yield -- It sends nothing, and ends late.
    const silent = async function* (): AsyncGenerator<Uint8Array> {
      await ended;
    };
    for await (const _ of connection.bidiStreaming(SERVICE, "Chat", silent()));
  });
  return () => {
    end();
    return Promise.all(streams);
  };
}

/** Returns a function that publishes events on `count` connections to a sink, which holds them back. */
async function publishers(server: Server, count: number): Promise<() => Promise<number>> {
  const sockets: Socket[] = [];
  await fill(sockets, count, `${server.path}.events`);
  const each = EVENTS / count;
  let id = 1;
  return () =>
    server.cost(EVENTS, async () => {
      const { taken } = await server.ask();
      const frames = Buffer.concat(Array.from({ length: each }, (_, index) => event(id + 2 * index)));
      id += 2 * each;
      for (const socket of sockets) socket.write(frames);
      while ((await server.ask()).taken < taken + EVENTS) await sleep(20);
    });
}

async function measure(driver: "loop" | "thread"): Promise<void> {
  await using fresh = new Server(driver);
  await using server = new Server(driver);
  await Promise.all([fresh.line(), server.line()]);
  const [plain, connection] = [await fresh.connect(), await server.connect()];
  const call = () => {
    return compared(
      () => fresh.cost(MEASURED, () => calls(plain)),
      () => server.cost(MEASURED, () => calls(connection)),
    );
  };
  const stream = () => {
    return compared(
      () => fresh.cost(40, () => source(plain)),
      () => server.cost(40, () => source(connection)),
    );
  };
  await server.ask("serve 10000");
  await sleep(500);
  const unit = "µs";
  const duplexes = await call();
  tell({ driver, what: "a call behind 10 000 Duplexes that have ended", ...duplexes, unit, goal: 1.1 });

  const idle = (await server.ask("collect")).resident;
  const sockets: Socket[] = [];
  for (const count of [MOST / 50, MOST / 10, MOST].map(Math.ceil)) {
    await fill(sockets, count, server.path);
    const costs = await call();
    points.push({ driver, what: "idle connections", count, ratio: costs.ratio });
    if (count !== MOST) continue;
    tell({ driver, what: `a call beside ${MOST} idle connections`, ...costs, unit, goal: 1.2 });
  }
  const connected = (await server.ask("collect")).resident;
  for (const socket of sockets) socket.destroy();
  await sleep(1000);
  const memory = (connected - idle) / MOST / 1024;
  tell({ driver, what: "resident memory of an idle connection", beside: memory, unit: "KiB", goal: 6 });

  for (const count of [STREAMS / 50, STREAMS / 10, STREAMS].map(Math.ceil)) {
    const before = (await server.ask("collect")).resident;
    const end = open(connection, count);
    await sleep(1500);
    const opened = (await server.ask("collect")).resident;
    const [echo, mib] = [await call(), await stream()];
    points.push({ driver, what: "open streams, a call", count, ratio: echo.ratio });
    points.push({ driver, what: "open streams, a MiB of another", count, ratio: mib.ratio });
    await end();
    if (count !== STREAMS) continue;
    tell({ driver, what: `a call beside ${STREAMS} open streams`, ...echo, unit, goal: 1.2 });
    tell({ driver, what: `a MiB of a stream beside ${STREAMS} open ones`, ...mib, unit, goal: 1.3 });
    const each = (opened - before) / STREAMS / 1024;
    tell({ driver, what: "resident memory of an open stream", beside: each, unit: "KiB", goal: 8 });
  }

  const held = await compared(await publishers(fresh, 1), await publishers(server, PUBLISHERS));
  tell({ driver, what: `an event held back, ${PUBLISHERS} connections against 1`, ...held, unit, goal: 1.2 });

  const busy = await server.connect();
  const failed = Array.from({ length: CALLS }, () =>
    busy.unary(SERVICE, "Block", ONE).catch(() => undefined),
  );
  while ((await server.ask()).blocked < CALLS) await sleep(100);
  const began = (await server.ask()).cpuUs;
  const own = process.cpuUsage();
  await busy.close();
  await Promise.all(failed);
  const { user, system } = process.cpuUsage(own);
  while ((await server.ask()).blocked > 0) await sleep(10);
  const took = Math.max((await server.ask()).cpuUs - began, user + system) / 1000;
  tell({
    driver,
    what: `closing a connection with ${CALLS} calls in flight`,
    beside: took,
    unit: "ms",
    goal: 1000,
  });
}

for (const driver of ["loop", "thread"] as const) await measure(driver);
const plots = join(values.output, "plots");
mkdirSync(plots, { recursive: true });
writeFileSync(join(plots, "growth.svg"), await drawGrowth(points));
const report = join(values.output, "report.md");
const text = existsSync(report) ? readFileSync(report, "utf8") : "# Benchmark\n";
writeFileSync(report, withSection(text, growthSection(grown)));
console.log(`wrote ${report}`);
rmSync(folder, { recursive: true, force: true });
process.exit();
