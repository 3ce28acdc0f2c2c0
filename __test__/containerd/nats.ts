import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type StoredMsg, jetstreamManager } from "@nats-io/jetstream";
import { connect, type ConnectionOptions, type NatsConnection } from "@nats-io/transport-node";
import { freePort } from "../helpers/free-port.js";
import { findTool } from "./requirements.js";

const PROGRAM = findTool("nats-server");

/** Whether the machine has a nats-server. */
export const hasNats = PROGRAM !== undefined;

/** A nats-server of our own, with JetStream on files. */
export class Nats {
  readonly url: string;
  readonly #folder: string;
  readonly #options: ConnectionOptions;
  #server: ChildProcess | undefined;

  private constructor(folder: string, port: number, options: ConnectionOptions) {
    this.#folder = folder;
    this.url = `nats://127.0.0.1:${port}`;
    this.#options = { ...options, servers: this.url };
  }

  /**
   * Starts a server.
   *
   * @param more - Lines to add to its configuration.
   * @param options - How the tests themselves connect to such a server.
   */
  static async start(
    folder: string,
    more: readonly string[] = [],
    options: ConnectionOptions = {},
  ): Promise<Nats> {
    mkdirSync(folder, { recursive: true });
    const port = await freePort();
    const lines = [
      `listen: "127.0.0.1:${port}"`,
      `jetstream { store_dir: ${JSON.stringify(folder)} }`,
      ...more,
    ];
    writeFileSync(join(folder, "nats.conf"), `${lines.join("\n")}\n`);
    const nats = new Nats(folder, port, options);
    await nats.restart();
    return nats;
  }

  /** Starts it, again if it was killed, and waits until JetStream answers. */
  async restart(): Promise<void> {
    const server = spawn(PROGRAM ?? "nats-server", ["--config", join(this.#folder, "nats.conf")], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#server = server;
    let log = "";
    server.stderr.setEncoding("utf8").on("data", (text: string) => (log = (log + text).slice(-1000)));
    const until = Date.now() + 20_000;
    for (;;) {
      try {
        return await this.#answers();
      } catch (error) {
        if (Date.now() > until) {
          await this.kill();
          throw new Error(`nats-server does not answer\n${log}`, { cause: error });
        }
        await sleep(50);
      }
    }
  }

  async #answers(): Promise<void> {
    const connection = await connect({ ...this.#options, reconnect: false });
    await jetstreamManager(connection).finally(() => connection.close());
  }

  async kill(): Promise<void> {
    const server = this.#server;
    if (server === undefined || server.exitCode !== null || server.signalCode !== null) return;
    const exited = once(server, "exit");
    server.kill("SIGKILL");
    await exited;
  }

  /** The CPU time that it has used, in microseconds. */
  get cpu(): number {
    const fields = readFileSync(`/proc/${this.#server?.pid}/stat`, "utf8")
      .replace(/^.*\) /, "")
      .split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 10_000;
  }

  connect(): Promise<NatsConnection> {
    return connect(this.#options);
  }

  /** How many messages a stream holds; 0 while there is none. */
  async count(stream: string): Promise<number> {
    return (await this.#state(stream)).messages;
  }

  /** Their bytes on the disk. */
  async bytes(stream: string): Promise<number> {
    return (await this.#state(stream)).bytes;
  }

  /** The subjects of a stream's messages. */
  async subjects(stream: string): Promise<string[]> {
    const connection = await this.connect();
    try {
      const { streams } = await jetstreamManager(connection);
      const { state } = await streams.info(stream, { subjects_filter: ">" });
      return Object.keys(state.subjects ?? {});
    } finally {
      await connection.close();
    }
  }

  async #state(stream: string): Promise<{ messages: number; bytes: number }> {
    const connection = await this.connect();
    try {
      return (await (await jetstreamManager(connection)).streams.info(stream)).state;
    } catch {
      return { messages: 0, bytes: 0 };
    } finally {
      await connection.close();
    }
  }

  /** Every message of a stream, in order. */
  async *messages(stream: string): AsyncGenerator<Pick<StoredMsg, "subject" | "data">> {
    const connection = await this.connect();
    const manager = await jetstreamManager(connection);
    let left = (await manager.streams.info(stream)).state.messages;
    const consumer = await manager.jetstream().consumers.get(stream);
    while (left > 0) {
      const batch = await consumer.fetch({ max_messages: Math.min(left, 5000) });
      for await (const message of batch) {
        left--;
        yield message;
      }
    }
    await connection.close();
  }
}
