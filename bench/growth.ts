/**
 * `npm run bench -- growth`: how the cost of a server's calls grows with what piles up on it, in the server's CPU time
 * and as ratios to an empty server. Writes artifacts/bench/growth.md. `--most N` sets the most connections (default 10
 * 000, as far as descriptors allow), `--streams N` the open streams (default 10 000), and `--calls N` the calls in
 * flight (default 100 000).
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

interface State {
  readonly cpuUs: number;
  readonly resident: number;
  /** Calls whose handlers wait. */
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

  /** The lowest CPU time, over several tries, of work that does `count` of something. */
  async cost(count: number, work: () => Promise<unknown>): Promise<number> {
    await work();
    let least = Infinity;
    for (let attempt = 0; attempt < 5; attempt++) {
      const before = await this.ask();
      await work();
      least = Math.min(least, ((await this.ask()).cpuUs - before.cpuUs) / count);
    }
    return least;
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

/** Reads 40 MiB from one stream. */
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

  const idle = (await server.ask()).resident;
  const sockets: Socket[] = [];
  for (let left = MOST; left > 0; left--) {
    const socket = connectSocket(server.path);
    await once(socket, "connect");
    sockets.push(socket);
  }
  const connected = (await server.ask()).resident;
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
  const before = (await server.ask()).resident;
  let end: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => (end = resolve));
  const streams = Array.from({ length: STREAMS }, async () => {
    // oxlint-disable-next-line require-yield -- Sends nothing, and ends late.
    const silent = async function* (): AsyncGenerator<Uint8Array> {
      await ended;
    };
    for await (const _ of connection.bidiStreaming(SERVICE, "Chat", silent()));
  });
  await sleep(1500);
  const open = (await server.ask()).resident;
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
  const began = performance.now();
  await busy.close();
  await Promise.all(failed);
  while ((await server.ask()).blocked > 0) await sleep(10);
  const took = performance.now() - began;
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
