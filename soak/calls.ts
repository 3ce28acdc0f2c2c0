import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";
import { Code, codeName, type Connection, TtrpcError } from "containerd-shim-protos";
import type { Counts } from "./counts.js";
import type { Random } from "./random.js";

/** The errors that a call may end with when peers are killed and callers cancel. Any other is a failure. */
const ALLOWED = new Set([Code.Unavailable, Code.Canceled, Code.DeadlineExceeded, Code.ResourceExhausted]);

/** Longer than any answered call takes, and short enough that no unanswered call outlives a phase. */
const TIMEOUT_MS = 4000;

const SERVICE = "soak.Soak";

/** Makes one call of a random kind, with a random fate. */
export async function randomCall(connection: Connection, random: Random, counts: Counts): Promise<void> {
  const kind = random.pick(KINDS);
  const controller = new AbortController();
  const fate = random.pick(["end", "end", "end", "abort", "deadline"] as const);
  const timeoutMs = fate === "deadline" ? 1 + random.below(30) : TIMEOUT_MS;
  const timer = fate === "abort" ? setTimeout(() => controller.abort(), random.below(20)) : undefined;
  try {
    await kind(connection, random, { timeoutMs, signal: controller.signal });
    counts.add("answered");
  } catch (error) {
    if (error instanceof TtrpcError && ALLOWED.has(error.code)) counts.add(codeName(error.code));
    else counts.fail(`${kind.name}: ${String(error)}`);
  } finally {
    clearTimeout(timer);
  }
}

interface Options {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

type Kind = (connection: Connection, random: Random, options: Options) => Promise<void>;

function check(actual: Uint8Array, expected: Uint8Array, what: string): void {
  if (Buffer.compare(actual, expected) !== 0) {
    throw new Error(`${what}: ${actual.length} bytes are not the ${expected.length} that were sent`);
  }
}

function payloadOf(random: Random): Uint8Array {
  return new Uint8Array(random.size()).fill(random.below(256));
}

async function echo(connection: Connection, random: Random, options: Options): Promise<void> {
  const payload = payloadOf(random);
  check(await connection.unary(SERVICE, "Echo", payload, options), payload, "Echo");
}

async function burst(connection: Connection, random: Random, options: Options): Promise<void> {
  await Promise.all(Array.from({ length: 1 + random.below(50) }, () => echo(connection, random, options)));
}

async function hold(connection: Connection, random: Random, { signal }: Options): Promise<void> {
  const timeoutMs = 1 + random.below(50);
  const reply = connection.unary(SERVICE, "Hold", payloadOf(random), { timeoutMs, signal });
  await expectFailure(reply);
}

async function list(connection: Connection, random: Random, options: Options): Promise<void> {
  const payload = payloadOf(random);
  let count = 0;
  for await (const message of connection.serverStreaming(SERVICE, "List", payload, options)) {
    check(message, payload, "List");
    count++;
    if (random.chance(0.02)) return;
  }
  if (count !== 20) throw new Error(`List ended after ${count} messages`);
}

async function sum(connection: Connection, random: Random, options: Options): Promise<void> {
  let sent = 0;
  async function* requests() {
    for (let count = random.below(40); count > 0; count--) {
      const payload = payloadOf(random);
      sent += payload.length;
      yield payload;
    }
  }
  const reply = await connection.clientStreaming(SERVICE, "Sum", requests(), options);
  check(reply, new TextEncoder().encode(String(sent)), "Sum");
}

async function chat(connection: Connection, random: Random, options: Options): Promise<void> {
  const sent: Uint8Array[] = [];
  async function* requests() {
    for (let count = random.below(40); count > 0; count--) {
      const payload = payloadOf(random);
      sent.push(payload);
      yield payload;
    }
  }
  for await (const message of connection.bidiStreaming(SERVICE, "Chat", requests(), options)) {
    check(message, sent.shift() ?? new Uint8Array(), "Chat");
    if (random.chance(0.05)) await turn();
    if (random.chance(0.01)) return;
  }
  if (sent.length > 0) throw new Error(`Chat ended ${sent.length} messages early`);
}

const KINDS: readonly Kind[] = [echo, echo, burst, hold, list, sum, chat];

async function expectFailure(reply: Promise<unknown>): Promise<void> {
  await reply.then(
    () => {
      throw new Error("a call that is never answered was answered");
    },
    (error: unknown) => {
      if (!(error instanceof TtrpcError) || !ALLOWED.has(error.code)) throw error;
    },
  );
}

/**
 * Reads an endless stream slowly, or fills one that nobody reads, on a separate connection, because other calls on it
 * would wait. Then leaves the stream, with everything that piled up.
 */
export async function slowStream(connection: Connection, random: Random, counts: Counts): Promise<void> {
  const payload = new Uint8Array(10_000);
  try {
    if (random.chance(0.5)) {
      let left = 5 + random.below(20);
      for await (const _ of connection.serverStreaming(SERVICE, "Endless", payload, {
        timeoutMs: TIMEOUT_MS,
      })) {
        await sleep(random.below(10));
        if (--left === 0) break;
      }
    } else {
      const signal = AbortSignal.timeout(50 + random.below(200));
      async function* endless() {
        for (;;) yield payload;
      }
      await connection.clientStreaming(SERVICE, "Ignore", endless(), { signal });
    }
    counts.add("slow");
  } catch (error) {
    if (error instanceof TtrpcError && ALLOWED.has(error.code)) counts.add("slow");
    else counts.fail(`slow stream: ${String(error)}`);
  } finally {
    await connection.close();
  }
}
