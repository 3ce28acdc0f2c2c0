import { describe, inject } from "vitest";
import { describeWithGo, goPeer } from "./go-peer.js";
import type { PeerError } from "./peer.js";
import { PeerProcess } from "./process.js";
import { temporaryAddress } from "./temp.js";

/** The two independent implementations of ttrpc. */
export type Language = "Go" | "Rust";

const rustPeer = inject("shimPeer");

/** A suite for each peer that could be built. The others are skipped and say what they need. */
export function describeWithPeers(name: string, suite: (language: Language) => void): void {
  describeWithGo(name.replaceAll("$peer", "Go"), () => suite("Go"));
  const note = rustPeer === null ? " (skipped: needs cargo)" : "";
  describe.skipIf(rustPeer === null)(`${name.replaceAll("$peer", "Rust")}${note}`, () => {
    suite("Rust");
  });
}

function peerProcess(language: Language, args: readonly string[]): PeerProcess {
  const binary = language === "Go" ? goPeer : rustPeer;
  if (binary === null) throw new Error("there is no peer: wrap the suite in describeWithPeers");
  return new PeerProcess(binary, args);
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
    const child = peerProcess(language, arguments_);
    const line = await child.nextLine();
    if (line !== "ready") throw new Error(`the peer did not start: ${line ?? (await child.failure())}`);
    return new StreamPeer(child, address);
  }

  /** Kills the process, whatever it is doing. */
  kill(): Promise<void> {
    return this.#child.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

/** What a peer's client should do. */
export interface StreamCallOptions {
  readonly count?: number;
  readonly repeat?: number;
  readonly code?: number;
  readonly size?: number;
  readonly text?: string;
  readonly metadata?: readonly string[];
  readonly timeoutMs?: number;
}

/** The outcome of one call of a peer's client, which checks the numbers and the order of what it gets. */
export interface StreamResult {
  readonly method: string;
  readonly received: number;
  readonly text?: string;
  readonly holding?: boolean;
  readonly error?: PeerError;
}

/** Calls `address` with a peer's client, and resolves to the outcome of each repetition. */
export async function streamCalls(
  language: Language,
  address: string,
  method: string,
  options: StreamCallOptions = {},
): Promise<StreamResult[]> {
  await using child = peerProcess(language, callArguments(language, address, method, options));
  const results: StreamResult[] = [];
  for (let line = await child.nextLine(); line !== undefined; line = await child.nextLine()) {
    results.push(JSON.parse(line) as StreamResult);
  }
  const failure = await child.failure();
  if (failure !== undefined) throw new Error(`the client failed: ${failure}`);
  return results;
}

/** A peer's client that has sent and received `count` messages and keeps its stream open until it is killed. */
export async function holdingPeer(
  language: Language,
  address: string,
  method: string,
  options: StreamCallOptions = {},
): Promise<PeerProcess> {
  const hold = language === "Go" ? "-hold" : "--hold";
  const child = peerProcess(language, [...callArguments(language, address, method, options), hold]);
  const line = await child.nextLine();
  const result = line === undefined ? undefined : (JSON.parse(line) as StreamResult);
  if (result?.holding !== true) throw new Error(`the client does not hold its stream: ${line}`);
  return child;
}

/** Makes unary calls with the Go client, and resolves to how many failed and the first reason. */
export async function goBlast(address: string, inflight: number, calls: number): Promise<unknown> {
  const counts = ["-inflight", String(inflight), "-calls", String(calls)];
  await using child = peerProcess("Go", ["blast", "-address", address, ...counts]);
  const line = await child.nextLine();
  if (line === undefined) throw new Error(`the client failed: ${await child.failure()}`);
  return JSON.parse(line) as unknown;
}

function callArguments(
  language: Language,
  address: string,
  method: string,
  { count, repeat, code, size, text, metadata = [], timeoutMs }: StreamCallOptions,
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
