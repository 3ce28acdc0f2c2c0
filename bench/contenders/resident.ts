/**
 * Measures what a JavaScript contender costs a process that does nothing else. Prints one line of JSON. `resident.ts
 * memory NAME PATH` calls a server at PATH; `resident.ts idle NAME PATH SECONDS` serves at PATH, connects to itself,
 * lets things settle, and then waits.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { payloadOf } from "./handlers.js";
import { loadContender } from "./load.js";
import { measure } from "./measure.js";

const [what, name = "", path = "", seconds = ""] = process.argv.slice(2);

async function memory(): Promise<object> {
  const before = process.memoryUsage().rss;
  const client = await (await loadContender(name)).connect(path);
  await client.unary(payloadOf(64));
  const first = process.memoryUsage().rss - before;
  const job = { work: "unary", address: "", size: 64, inflight: 64, connections: 1 } as const;
  await measure([client], { ...job, warmupMs: 0, durationMs: 1000 });
  return { firstCall: first, afterLoad: process.memoryUsage().rss - before };
}

async function idle(): Promise<object> {
  const contender = await loadContender(name);
  await contender.serve(path);
  const client = await contender.connect(path);
  await client.unary(payloadOf(64));
  await sleep(1000);
  const cpuMs: number[] = [];
  while (cpuMs.length < Number(seconds)) {
    const start = process.cpuUsage();
    await sleep(1000);
    const { user, system } = process.cpuUsage(start);
    cpuMs.push((user + system) / 1000);
  }
  return { cpuMs };
}

console.log(JSON.stringify(await (what === "memory" ? memory() : idle())));
process.exit(0);
