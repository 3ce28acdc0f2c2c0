import { setTimeout as sleep } from "node:timers/promises";
import type { NatsConnection } from "@nats-io/transport-node";
import {
  JetStreamApiError,
  type JetStreamClient,
  type JetStreamManager,
  type MsgRequest,
} from "@nats-io/jetstream";
import { connectNats, ensureStream, type NatsOptions, subjectOf, subjectsOf } from "./nats.js";
import type { Spool, Spooled } from "./spool.js";

/** Messages that wait for NATS's acknowledgement at most. */
const IN_FLIGHT = 512;
const LONGEST_DELAY_MS = 2000;
const ACK_TIMEOUT_MS = 5000;
/** Room for the headers of a message. */
const HEADERS = 1024;

/** JetStream's error code for a message that is longer than its stream allows. */
const MESSAGE_TOO_LONG = 10_054;

/**
 * Publishes a spool to JetStream, in order. Each connection first asks JetStream which of this host's events it has,
 * because acknowledgements may have been lost, and a stream that refused one event may have taken those behind it. So a
 * restart of any part, however long, neither loses nor repeats an event; the ids catch what an old connection still
 * delivers.
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
      if (!this.#stopped) await sleep(spread(delayMs));
      delayMs = Math.min(delayMs * 2, LONGEST_DELAY_MS);
    }
  }

  async #publishAll(connection: NatsConnection): Promise<void> {
    const manager = await ensureStream(connection, this.#options.stream);
    const client = manager.jetstream();
    const limit = connection.info?.max_payload ?? Number.POSITIVE_INFINITY;
    await this.#catchUp(manager, (records) => this.#publish(client, records, limit));
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
      const now = this.#publish(client, records, limit);
      now.catch(() => undefined);
      await earlier;
      earlier = now.then((position) => this.#spool.markPublished(end, position));
      earlier.catch(() => undefined);
    }
    await earlier;
    if (!this.#stopped) throw new Error("the connection was lost");
  }

  /** Publishes what the stream lacks of the events before the last one that it has of this spool. */
  async #catchUp(
    manager: JetStreamManager,
    publish: (records: readonly Spooled[]) => Promise<number>,
  ): Promise<void> {
    const spool = this.#spool;
    const { stream } = this.#options;
    const subjects = subjectsOf(this.#host);
    const last = await manager.streams.getMessage(stream, { last_by_subj: subjects });
    if (spool.position < 0) {
      // Nothing in the stream is known to be of this spool, unless an earlier collector filled it, in order.
      const known = last === null ? undefined : spool.find(last.header.get("Nats-Msg-Id"));
      return spool.markPublished(known ?? spool.published, last?.seq ?? 0);
    }
    // It was made anew, or all of this host's events are too old for it.
    if (last === null) return spool.markPublished(spool.published, 0);
    const stored = new Set<number>();
    // A stream that was made anew begins to count anew.
    for (let at = last.seq < spool.position ? 0 : spool.position; at < last.seq;) {
      // What the client knows of this request lacks the next message of some subjects.
      const next = { seq: at + 1, next_by_subj: subjects } as MsgRequest;
      const message = await manager.streams.getMessage(stream, next);
      if (message === null) break;
      at = message.seq;
      const seq = spool.find(message.header.get("Nats-Msg-Id"));
      if (seq !== undefined && seq > spool.published) stored.add(seq);
    }
    if (stored.size === 0) return;
    const end = Math.max(...stored);
    // Between them are no more than may be on their way at once.
    const records = spool.after(spool.published, 2 * IN_FLIGHT).filter(({ seq }) => seq <= end);
    const missing = records.filter(({ seq }) => !stored.has(seq));
    if (missing.length > 0) await publish(missing);
    spool.markPublished(records.at(-1)?.seq ?? end, spool.position);
  }

  /**
   * Sends records at once. Resolves when all are stored, to a position behind which they are in the stream; if one was
   * not stored, the next connection finds out which.
   */
  async #publish(client: JetStreamClient, records: readonly Spooled[], limit: number): Promise<number> {
    const published = records.map(async (record) => {
      const { id, namespace, topic, envelope } = record;
      if (envelope.length + HEADERS > limit) return leftOut(record);
      const subject = subjectOf(this.#host, namespace, topic);
      try {
        return await client.publish(subject, envelope, { msgID: id, timeout: ACK_TIMEOUT_MS, retries: 1 });
      } catch (error) {
        if (error instanceof JetStreamApiError && error.code === MESSAGE_TOO_LONG) return leftOut(record);
        throw error;
      }
    });
    const outcomes = await Promise.allSettled(published);
    let position = Number.POSITIVE_INFINITY;
    for (const outcome of outcomes) {
      if (outcome.status === "rejected") throw outcome.reason;
      if (outcome.value !== undefined) position = Math.min(position, outcome.value.seq);
    }
    return Number.isFinite(position) ? position : this.#spool.position;
  }
}

/** A delay, a quarter less or more: when a NATS comes back, all the hosts of a fleet must not do so at once, and again and again. */
export function spread(delayMs: number): number {
  return delayMs * (0.75 + Math.random() / 2);
}

/** An event that NATS never takes would hold up all behind it for good. It stays in the spool, for `query`. */
function leftOut({ seq, topic, envelope }: Spooled): undefined {
  console.error(
    `event ${seq}, ${topic}, has ${envelope.length} bytes, more than NATS takes; it is not published`,
  );
}
