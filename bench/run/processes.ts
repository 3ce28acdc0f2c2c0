/** The processes of a run: each contender's client and server has its own process, started when it is first needed. */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Contestant } from "../contenders/index.js";
import { threadCpuMs } from "../contenders/measure.js";
import type { Job, Result } from "../job.js";

/** A process that answers each line with a line. */
class LineProcess implements Disposable {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #what: string;

  constructor([command = "", ...args]: readonly string[]) {
    // It ends with its stdin, so it cannot outlive this process.
    const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#child = child;
    this.#what = [command, ...args].join(" ");
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    const { done, value } = await this.#lines.next();
    if (done === true) throw new Error(`it ended: ${this.#what}`);
    return value;
  }

  /** CPU time of all its threads, in ms. */
  get cpuMs(): number {
    const tasks = `/proc/${this.#child.pid}/task`;
    return readdirSync(tasks).reduce((sum, task) => sum + threadCpuMs(`${tasks}/${task}`), 0);
  }

  ask(line: string): Promise<string> {
    this.#child.stdin!.write(`${line}\n`);
    return this.line();
  }

  [Symbol.dispose](): void {
    this.#child.kill("SIGKILL");
  }
}

/** What was measured of a client, and of its server. */
export interface Measurement extends Result {
  /** CPU time of the server's process per call or message, with the warm-up. */
  readonly serverCpuUs: number;
}

/** All processes of a run. */
export class Processes implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "ttrpc-bench-"));
  readonly #running = new Map<string, Promise<LineProcess>>();

  /** Makes a client measure a job. */
  async measure(client: Contestant, server: Contestant, job: Omit<Job, "address">): Promise<Measurement> {
    const serving = await this.#serve(server);
    const process = await this.#process(`client ${client.name}`, client.client());
    const before = serving.cpuMs;
    const address = `unix://${this.path(server.name)}`;
    const result = JSON.parse(await process.ask(JSON.stringify({ ...job, address }))) as Result;
    const done = (result.perSecond * (job.warmupMs + job.durationMs)) / 1000;
    return { ...result, serverCpuUs: ((serving.cpuMs - before) * 1000) / Math.max(1, done) };
  }

  /** Starts a server unless it is running, and returns the path of its socket. */
  async serve(server: Contestant): Promise<string> {
    await this.#serve(server);
    return this.path(server.name);
  }

  #serve(server: Contestant): Promise<LineProcess> {
    return this.#process(`server ${server.name}`, server.server(this.path(server.name)));
  }

  /** A path for a socket. */
  path(name: string): string {
    return join(this.#folder, `${name}.sock`);
  }

  #process(key: string, command: readonly string[]): Promise<LineProcess> {
    let process = this.#running.get(key);
    if (process === undefined) {
      process = start(command);
      this.#running.set(key, process);
    }
    return process;
  }

  [Symbol.dispose](): void {
    for (const process of this.#running.values()) void process.then((each) => each[Symbol.dispose]());
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

async function start(command: readonly string[]): Promise<LineProcess> {
  const process = new LineProcess(command);
  const line = await process.line();
  if (line !== "ready") throw new Error(`${command.join(" ")} said ${line}`);
  return process;
}
