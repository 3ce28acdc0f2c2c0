import { describe, inject } from "vitest";
import { PeerProcess } from "./process.js";
import { temporaryAddress } from "./temp.js";
import type { Version } from "./tasks.js";

const binary = inject("shimPeer");

/** `describe` for a suite that needs the Rust peer. If it could not be built, the suite is skipped and says so. */
export function describeWithPeer(name: string, suite: () => void): void {
  const note = binary === null ? " (skipped: needs cargo)" : "";
  describe.skipIf(binary === null)(`${name}${note}`, () => {
    suite();
  });
}

function peerProcess(args: readonly string[]): PeerProcess {
  if (binary === null) throw new Error("there is no peer: wrap the suite in describeWithPeer");
  return new PeerProcess(binary, args);
}

/** A server of the Rust peer, in a process of its own. */
export class Peer implements AsyncDisposable {
  readonly address: string;
  readonly pid: number;
  readonly #child: PeerProcess;

  private constructor(child: PeerProcess, address: string) {
    this.#child = child;
    this.pid = child.pid;
    this.address = address;
  }

  /** The generated Task server; in version 3, also Events. */
  static task(version: Version = "v3", address?: string): Promise<Peer> {
    return Peer.#start(["serve", "--task", version], address);
  }

  /** `test.Echo`: Echo, Zero, Sleep, Fail, Metadata and Large. */
  static echo(address?: string): Promise<Peer> {
    return Peer.#start(["echo"], address);
  }

  /** The generated Events server without tokio, which has no method. */
  static threads(): Promise<Peer> {
    return Peer.#start(["threads"]);
  }

  /** The generated Events server, which reports once `count` `TaskExit`s have come; see {@link Peer.eventsReport}. */
  static events(count: number, address?: string): Promise<Peer> {
    return Peer.#start(["events", "--count", String(count)], address);
  }

  /** The report once all events have come: whether their exit statuses were 0, 1, 2, …. */
  async eventsReport(): Promise<{ events: number; ordered: boolean }> {
    return JSON.parse((await this.#child.nextLine()) ?? "null") as { events: number; ordered: boolean };
  }

  static async #start(args: readonly string[], address = temporaryAddress()): Promise<Peer> {
    const child = peerProcess([...args, "--address", address, "--exit-on-stdin-eof"]);
    const line = await child.nextLine();
    if (line !== "ready") throw new Error(`the peer did not start: ${line ?? (await child.failure())}`);
    return new Peer(child, address);
  }

  /** Kills the process, whatever it is doing, and resolves when it has gone. */
  async kill(): Promise<void> {
    await this.#child.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

/** How a call of the Rust client failed: with a status, or with another error as text. */
export interface PeerError {
  readonly kind: "status" | "other";
  readonly code: number | null;
  readonly message: string;
  readonly details: readonly { readonly type_url: string; readonly value: string }[];
}

/** One call of the Rust client: its messages in hexadecimal. */
export interface PeerCall {
  readonly method: string;
  readonly request: string;
  readonly response?: string;
  readonly error?: PeerError;
}

/** What the Rust client should do. */
export interface PeerCallOptions {
  readonly task?: Version;
  /** The id in every request. */
  readonly id?: string;
  /** One method instead of all 17. */
  readonly only?: string;
  /** 5000 if left out, 0 for none. */
  readonly timeoutMs?: number;
}

/** The Rust client, calling one method after the other on one connection. */
export class PeerClient implements AsyncDisposable {
  readonly pid: number;
  readonly #child: PeerProcess;

  constructor(address: string, { task = "v3", id, only, timeoutMs }: PeerCallOptions = {}) {
    this.#child = peerProcess([
      "call",
      "--address",
      address,
      "--task",
      task,
      ...(id === undefined ? [] : ["--id", id]),
      ...(only === undefined ? [] : ["--only", only]),
      ...(timeoutMs === undefined ? [] : ["--timeout-ms", String(timeoutMs)]),
    ]);
    this.pid = this.#child.pid;
  }

  /** All its calls, once it has ended. */
  async calls(): Promise<PeerCall[]> {
    const calls: PeerCall[] = [];
    for (let line = await this.#child.nextLine(); line !== undefined; line = await this.#child.nextLine()) {
      calls.push(JSON.parse(line) as PeerCall);
    }
    const failure = await this.#child.failure();
    if (failure !== undefined) throw new Error(`the client failed: ${failure}`);
    return calls;
  }

  /** Kills the process and resolves when it has gone. */
  async kill(): Promise<void> {
    await this.#child.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

/** Makes calls with the Rust client and resolves to their outcomes. */
export async function peerCalls(address: string, options?: PeerCallOptions): Promise<PeerCall[]> {
  await using client = new PeerClient(address, options);
  return await client.calls();
}

/** Publishes `TaskExit`s with the statuses 0, 1, 2, … with the Rust client. Resolves to how many failed, and how. */
export async function peerPublish(
  address: string,
  { count = 1, inflight = 1, timeoutMs = 5000 } = {},
): Promise<{ failed: number; first: string | null }> {
  const numbers = [
    "--count",
    String(count),
    "--inflight",
    String(inflight),
    "--timeout-ms",
    String(timeoutMs),
  ];
  const child = peerProcess(["publish", "--address", address, ...numbers]);
  const line = await child.nextLine();
  const failure = await child.failure();
  if (line === undefined) throw new Error(`the publisher failed: ${failure}`);
  return JSON.parse(line) as { failed: number; first: string | null };
}
