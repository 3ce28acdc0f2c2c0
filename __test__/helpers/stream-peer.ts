import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { describe, inject } from "vitest";
import { describeWithGo, goPeer } from "./go-peer.js";
import type { PeerError } from "./peer.js";
import { temporaryAddress, temporaryPath } from "./temp.js";

/** The two that speak ttrpc without us. */
export type Language = "Go" | "Rust";

const rustPeer = inject("shimPeer");

/** A suite for each of the peers that could be built; the others say what they need. */
export function describeWithPeers(name: string, suite: (language: Language) => void): void {
  describeWithGo(name.replaceAll("$peer", "Go"), () => suite("Go"));
  const note = rustPeer === null ? " (skipped: needs cargo)" : "";
  describe.skipIf(rustPeer === null)(`${name.replaceAll("$peer", "Rust")}${note}`, () => {
    suite("Rust");
  });
}

/** A server of the streaming services, in a process of its own. */
export class StreamPeer implements AsyncDisposable {
  readonly address: string;
  readonly #child: PeerProcess;

  private constructor(child: PeerProcess, address: string) {
    this.#child = child;
    this.address = address;
  }

  static async serve(language: Language): Promise<StreamPeer> {
    const address = temporaryAddress();
    const arguments_ =
      language === "Go"
        ? ["serve", "-address", address, "-exit-on-stdin-eof"]
        : ["streams", "--address", address, "--exit-on-stdin-eof"];
    const child = new PeerProcess(language, arguments_);
    const line = await child.nextLine();
    if (line !== "ready") throw new Error(`the peer did not start: ${line ?? (await child.failure())}`);
    return new StreamPeer(child, address);
  }

  /** Ends the process at once, whatever it is at. */
  kill(): Promise<void> {
    return this.#child.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

/** What a peer's client is to do. */
export interface PeerCallOptions {
  readonly count?: number;
  readonly repeat?: number;
  readonly code?: number;
  readonly size?: number;
  readonly text?: string;
  readonly metadata?: readonly string[];
  readonly timeoutMs?: number;
}

/** What came of one call of a peer's client, which checks the numbers and the order of what it gets. */
export interface PeerResult {
  readonly method: string;
  readonly received: number;
  readonly text?: string;
  readonly holding?: boolean;
  readonly error?: PeerError;
}

/** Calls `address` with a peer's client, and resolves to what came of each repetition. */
export async function peerCalls(
  language: Language,
  address: string,
  method: string,
  options: PeerCallOptions = {},
): Promise<PeerResult[]> {
  await using child = new PeerProcess(language, callArguments(language, address, method, options));
  const results: PeerResult[] = [];
  for (let line = await child.nextLine(); line !== undefined; line = await child.nextLine()) {
    results.push(JSON.parse(line) as PeerResult);
  }
  const failure = await child.failure();
  if (failure !== undefined) throw new Error(`the client failed: ${failure}`);
  return results;
}

/** A peer's client that has sent and received `count` messages and left its stream open. Killing it is all there is. */
export async function holdingPeer(
  language: Language,
  address: string,
  method: string,
  options: PeerCallOptions = {},
): Promise<PeerProcess> {
  const hold = language === "Go" ? "-hold" : "--hold";
  const child = new PeerProcess(language, [...callArguments(language, address, method, options), hold]);
  const line = await child.nextLine();
  const result = line === undefined ? undefined : (JSON.parse(line) as PeerResult);
  if (result?.holding !== true) throw new Error(`the client does not hold its stream: ${line}`);
  return child;
}

/** Makes unary calls with the Go client, and resolves to how many failed and the first reason. */
export async function goBlast(address: string, inflight: number, calls: number): Promise<unknown> {
  const counts = ["-inflight", String(inflight), "-calls", String(calls)];
  await using child = new PeerProcess("Go", ["blast", "-address", address, ...counts]);
  const line = await child.nextLine();
  if (line === undefined) throw new Error(`the client failed: ${await child.failure()}`);
  return JSON.parse(line) as unknown;
}

function callArguments(
  language: Language,
  address: string,
  method: string,
  { count, repeat, code, size, text, metadata = [], timeoutMs }: PeerCallOptions,
): string[] {
  const [command, dash] = language === "Go" ? ["call", "-"] : ["stream-call", "--"];
  const flags = { address, method, count, repeat, code, size, text };
  const pairs = Object.entries(flags).filter(([, value]) => value !== undefined);
  for (const pair of metadata) pairs.push(["metadata", pair]);
  if (timeoutMs !== undefined) {
    pairs.push(language === "Go" ? ["timeout", `${timeoutMs}ms`] : ["timeout-ms", timeoutMs]);
  }
  return [command!, ...pairs.flatMap(([name, value]) => [`${dash}${name}`, String(value)])];
}

/** A process of a peer and its output, line by line. */
class PeerProcess implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #ended: Promise<unknown>;
  readonly #log = temporaryPath(".log");

  constructor(language: Language, arguments_: readonly string[]) {
    const binary = language === "Go" ? goPeer : rustPeer;
    if (binary === null) throw new Error("there is no peer: wrap the suite in describeWithPeers");
    const log = openSync(this.#log, "w");
    // A server ends with its stdin, so it cannot outlive this process, however that ends.
    const child = spawn(binary, arguments_, { stdio: ["pipe", "pipe", log] });
    closeSync(log);
    if (child.stdout === null) throw new Error("the peer's output is not piped");
    this.#process = child;
    this.#ended = once(child, "close");
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** The next line of output; undefined when there is none any more. */
  async nextLine(): Promise<string | undefined> {
    const { done, value } = await this.#lines.next();
    return done === true ? undefined : value;
  }

  /** How the process failed, when it has ended; undefined if it did not. */
  async failure(): Promise<string | undefined> {
    await this.#ended;
    const { exitCode, signalCode } = this.#process;
    if (exitCode === 0) return undefined;
    return `${signalCode ?? `exit status ${exitCode}`}\n${readFileSync(this.#log, "utf8")}`;
  }

  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
