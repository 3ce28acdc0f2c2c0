/** What stands in the way of targets that are missed, and how that was found. */

import type { Target } from "./targets.js";

const LIMITS = {
  one: [
    "One call at a time",
    "the native server sleeps between two calls, and the kernel needs most of a call to wake it. How long that takes depends on where it places the two processes: on one processor, native Rust makes twice as many calls as on two.",
  ],
  many: [
    "Many small calls",
    "one thread is busy all the time: with 64 in flight the client's for 96 % of it, and the native server's for 95 %. A batch of calls costs three system calls, and in a profile no function of this side has more than 5 % of the time.",
  ],
  server: [
    "A server's CPU time",
    "ttrpc's own server takes 1.0 µs for a request, for a task, channels and wake-ups. That is twice what plain JavaScript takes for everything outside the kernel.",
  ],
  messages: [
    "Streams of small messages",
    "the native server reads as many as every contender sends, and only its thread is always busy. In the other direction, each message is a buffer of its own in the kernel, which takes most of the time that any contender needs.",
  ],
  large: [
    "Large payloads",
    "the thread of JavaScript is busy for 92 to 96 % of the time. V8 frees a payload when it collects, so each is written to memory that no cache holds any more. A program that calls `releasePayload` is spared that.",
  ],
  released: [
    "Large payloads that are released",
    "the kernel takes more than half of the time, about as much as native Rust takes in all. The rest is JavaScript's, with three objects of V8 for each payload, and payloads below 32 KiB are copied once more each way than in native Rust.",
  ],
  thread: [
    '`driver: "thread"`',
    "below 32 calls in flight JavaScript's thread does the work, and takes a lock and asks a second epoll for each batch. With more, each batch waits for two wake-ups more, and three threads share the two processors.",
  ],
  idle: ["Idle", "V8 collects garbage once it notices the pause."],
  load: ["Loading", "see [Start and memory](#start-and-memory)."],
} as const satisfies Record<string, readonly [what: string, why: string]>;

/** The name of a limit. */
export type Limit = keyof typeof LIMITS;

/** A list of what stands in the way of the targets that are missed; empty if none is. */
export function limitList(targets: readonly Target[]): string {
  const missed = new Set(targets.filter(({ verdict }) => verdict === "missed").map(({ limit }) => limit));
  if (missed.size === 0) return "";
  const lines = (Object.keys(LIMITS) as Limit[])
    .filter((limit) => missed.has(limit))
    .map((limit) => `- **${LIMITS[limit][0]}**: ${LIMITS[limit][1]}`);
  return ["What stands in the way of those that are missed:", lines.join("\n")].join("\n\n");
}
