/**
 * A client of hostile servers: `caller.ts DRIVER WHAT PATH`. It says when it is ready, does its work once it is told to,
 * and prints the outcome.
 */

import { once } from "node:events";
import { codeName, connect, TtrpcError } from "containerd-shim-protos";

const [driver = "loop", what = "", path = ""] = process.argv.slice(2);
const EMPTY = new Uint8Array();
const open = () => connect(`unix://${path}`, { driver: driver as "loop" });

/** How many calls ended in which way. */
async function outcomes(calls: readonly Promise<unknown>[]): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  const settled = await Promise.allSettled(calls);
  for (const one of settled) {
    const reason: unknown = one.status === "rejected" ? one.reason : undefined;
    const name = reason instanceof TtrpcError ? codeName(reason.code) : one.status;
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

const WORK: Record<string, () => Promise<unknown>> = {
  /** Fifty calls at once on one connection. */
  async calls() {
    const connection = await open();
    return outcomes(Array.from({ length: 50 }, () => connection.unary("a.B", "C", EMPTY)));
  },
  /** A stream of which one message is read. */
  async reader() {
    const stream = (await open()).serverStreaming("a.B", "C", EMPTY)[Symbol.asyncIterator]();
    const { value } = await stream.next();
    return { bytes: (value as Uint8Array).length };
  },
  /** A call on each of a thousand connections. */
  async connections() {
    const calls = [];
    for (let left = 1000; left > 0; left--) {
      const connection = await open();
      calls.push(connection.unary("a.B", "C", EMPTY, { timeoutMs: 3000 }));
    }
    return outcomes(calls);
  },
};

await (await open()).close();
console.log("ready");
await once(process.stdin, "data");
console.log(JSON.stringify(await WORK[what]?.()));
process.stdin.resume();
