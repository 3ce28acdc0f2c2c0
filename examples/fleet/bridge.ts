import { setTimeout as sleep } from "node:timers/promises";
import type { NatsConnection } from "@nats-io/transport-node";
import type { JetStreamClient } from "@nats-io/jetstream";
import { connectNats, ensureStream, type NatsOptions, subjectOf, subjectsOf } from "./nats.js";
import type { Spool, Spooled } from "./spool.js";

/** Messages that wait for NATS's acknowledgement at most. */
const IN_FLIGHT = 512;
const LONGEST_DELAY_MS = 2000;
const ACK_TIMEOUT_MS = 5000;
/** Room for the headers of a message. */
const HEADERS = 1024;

/**
 * Publishes a spool to JetStream, in order. Each connection first asks JetStream for this host's last event, because
 * acknowledgements may have been lost. So a restart of any part, however long, neither loses nor repeats an event; the
 * ids catch what an old connection still delivers.
 */
export class Bridge {
  readonly #spool: Spool;
  readonly #host: string;
  readonly #options: NatsOptions;
  #wake: (() => void) | undefined;
  #stopped = false;

  constructor(spool: Spool, host: string, options: NatsOptions) {
    this.#spool = spool;
    this.#host = host;
    this.#options = options;
  }

  /** There is more in the spool. */
  wake(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  stop(): void {
    this.#stopped = true;
    this.wake();
  }

  /** Runs until it is stopped. Failures are retried. */
  async run(): Promise<void> {
    let delayMs = 50;
    while (!this.#stopped) {
      const before = this.#spool.published;
      let connection: NatsConnection | undefined;
      try {
        connection = await connectNats(this.#options, `fleet collector of ${this.#host}`);
        await this.#publishAll(connection);
      } catch (error) {
        if (!this.#stopped) console.error(`NATS: ${(error as Error).message}`);
      } finally {
        await connection?.close().catch(() => undefined);
      }
      if (this.#spool.published > before) delayMs = 50;
      if (!this.#stopped) await sleep(delayMs);
      delayMs = Math.min(delayMs * 2, LONGEST_DELAY_MS);
    }
  }

  async #publishAll(connection: NatsConnection): Promise<void> {
    const { stream } = this.#options;
    const manager = await ensureStream(connection, stream);
    const last = await manager.streams.getMessage(stream, { last_by_subj: subjectsOf(this.#host) });
    const known = last === null ? undefined : this.#spool.find(last.header.get("Nats-Msg-Id"));
    if (known !== undefined) this.#spool.markPublished(known);
    const client = manager.jetstream();
    let sent = this.#spool.published;
    void connection.closed().then(() => this.wake());
    // Two halves, so that one is read and sent while the other is acknowledged.
    let earlier: Promise<void> = Promise.resolve();
    while (!this.#stopped && !connection.isClosed()) {
      const records = this.#spool.after(sent, IN_FLIGHT / 2);
      if (records.length === 0) {
        await earlier;
        if (connection.isClosed()) break;
        await Promise.race([sleep(1000), new Promise<void>((resolve) => (this.#wake = resolve))]);
        continue;
      }
      const end = (records.at(-1) as Spooled).seq;
      sent = end;
      const now = this.#publish(client, records, connection.info?.max_payload ?? Number.POSITIVE_INFINITY);
      now.catch(() => undefined);
      await earlier;
      earlier = now.then(() => this.#spool.markPublished(end));
      earlier.catch(() => undefined);
    }
    await earlier;
    if (!this.#stopped) throw new Error("the connection was lost");
  }

  /** Sends records at once. Resolves when all are stored; if one was not, the caller must find out how many were. */
  async #publish(client: JetStreamClient, records: readonly Spooled[], limit: number): Promise<void> {
    const published = records.map(({ seq, id, namespace, topic, envelope }) => {
      if (envelope.length + HEADERS > limit) {
        // It would hold up all behind it for good. It stays in the spool, for `query`.
        console.error(
          `event ${seq}, ${topic}, has ${envelope.length} bytes, more than NATS takes; it is not published`,
        );
        return undefined;
      }
      const subject = subjectOf(this.#host, namespace, topic);
      return client.publish(subject, envelope, { msgID: id, timeout: ACK_TIMEOUT_MS, retries: 1 });
    });
    const outcomes = await Promise.allSettled(published);
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  }
}
