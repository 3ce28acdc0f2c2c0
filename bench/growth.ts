/**
 * `npm run bench -- growth`: what a server's calls cost beside what piles up on it, as ratios to the same without it, by the
 * server's CPU time. Writes artifacts/bench/growth.md. `--most N` takes up to N connections in place of 10 000, as far as
 * descriptors allow; `--streams N` and `--calls N` open other numbers than 10 000 and 100 000.
 */

import { execSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect as connectSocket, type Socket } from "node:net";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { connect, type Connection } from "containerd-shim-protos";
import { SERVICE } from "./job.js";
import { spread } from "./report/statistics.js";

interface State {
  readonly cpuUs: number;
  readonly resident: number;
  /** Calls in handlers that wait. */
  readonly blocked: number;
}

const { values } = parseArgs({
  options: {
    most: { type: "string", default: "10000" },
    streams: { type: "string", default: "10000" },
    calls: { type: "string", default: "100000" },
  },
});
const descriptors = Number(execSync("ulimit -n", { shell: "/bin/sh", encoding: "utf8" }));
const MOST = Math.min(Number(values.most), descriptors - 200);
const STREAMS = Number(values.streams);
const CALLS = Number(values.calls);
const ONE = new Uint8Array(1);
const folder = mkdtempSync(join(tmpdir(), "ttrpc-growth-"));

/** A server in a process of its own. */
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

  /** The median CPU time, of several tries, of what does `count` of something. */
  async cost(count: number, work: () => Promise<unknown>): Promise<number> {
    await work();
    const costs: number[] = [];
    for (let attempt = 0; attempt < 9; attempt++) {
      const before = await this.ask();
      await work();
      costs.push(((await this.ask()).cpuUs - before.cpuUs) / count);
    }
    return spread(costs).median;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#child, "close");
    this.#child.kill("SIGKILL");
    await closed;
  }
}

async function calls(connection: Connection): Promise<void> {
  for (let left = 1000; left > 0; left--) await connection.unary(SERVICE, "Echo", ONE);
}

/** 40 MiB of one stream. */
async function source(connection: Connection): Promise<void> {
  for await (const _ of connection.serverStreaming(SERVICE, "Source", Buffer.from("640")));
}

const lines: string[] = [];
function tell(driver: string, what: string, before: number, after: number, unit: string): void {
  const [first, second] = [before, after].map((value) => value.toFixed(1));
  lines.push(
    `| ${driver} | ${what} | ${first} ${unit} | ${second} ${unit} | ${(after / before).toFixed(2)} |`,
  );
  console.log(lines.at(-1));
}

async function measure(driver: "loop" | "thread"): Promise<void> {
  await using server = new Server(driver);
  await server.line();
  const connection = await server.connect();
  const call = await server.cost(1000, () => calls(connection));
  await server.ask("serve 10000");
  await sleep(500);
  const behind = await server.cost(1000, () => calls(connection));
  tell(driver, "a call behind 10 000 Duplexes that were served and have ended", call, behind, "µs");

  const idle = (await server.ask("collect")).resident;
  const sockets: Socket[] = [];
  for (let left = MOST; left > 0; left--) {
    const socket = connectSocket(server.path);
    await once(socket, "connect");
    sockets.push(socket);
  }
  const connected = (await server.ask("collect")).resident;
  tell(
    driver,
    `a call beside ${MOST} idle connections`,
    call,
    await server.cost(1000, () => calls(connection)),
    "µs",
  );
  for (const socket of sockets) socket.destroy();
  await sleep(500);

  const [echoes, megabyte] = [
    await server.cost(1000, () => calls(connection)),
    await server.cost(40, () => source(connection)),
  ];
  const before = (await server.ask("collect")).resident;
  let end: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => (end = resolve));
  const streams = Array.from({ length: STREAMS }, async () => {
    // oxlint-disable-next-line require-yield -- It sends nothing, and ends late.
    const silent = async function* (): AsyncGenerator<Uint8Array> {
      await ended;
    };
    for await (const _ of connection.bidiStreaming(SERVICE, "Chat", silent()));
  });
  await sleep(1500);
  const open = (await server.ask("collect")).resident;
  tell(
    driver,
    `a call beside ${STREAMS} open streams`,
    echoes,
    await server.cost(1000, () => calls(connection)),
    "µs",
  );
  tell(
    driver,
    `a MiB of a stream beside ${STREAMS} open ones`,
    megabyte,
    await server.cost(40, () => source(connection)),
    "µs",
  );
  end();
  await Promise.all(streams);

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
  lines.push(
    `| ${driver} | closing a connection with ${CALLS} calls in flight | | ${took.toFixed(0)} ms | |`,
  );
  lines.push(
    `| ${driver} | resident memory of an idle connection | | ${((connected - idle) / MOST / 1024).toFixed(1)} KiB | |`,
  );
  lines.push(
    `| ${driver} | resident memory of an open stream | | ${((open - before) / STREAMS / 1024).toFixed(1)} KiB | |`,
  );
  for (const line of lines.slice(-3)) console.log(line);
}

for (const driver of ["loop", "thread"] as const) await measure(driver);
const target = join(import.meta.dirname, "../artifacts/bench");
mkdirSync(target, { recursive: true });
const head = "| driver | what | alone | beside | ratio |\n| --- | --- | --- | --- | --- |\n";
writeFileSync(join(target, "growth.md"), `${head}${lines.join("\n")}\n`);
rmSync(folder, { recursive: true, force: true });
process.exit();
