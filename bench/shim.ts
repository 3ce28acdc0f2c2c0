/**
 * Measures the time from `ctr run` to a container's first output, and a shim's memory, for the example shims and for
 * containerd's own, in alternating rounds. Needs root, a running containerd, and a folder with a root filesystem that
 * has /bin/echo and /bin/sleep:
 *
 *     npx tsx bench/shim.ts --address /run/containerd/containerd.sock --rootfs /path/to/rootfs
 */

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    address: { type: "string", default: "/run/containerd/containerd.sock" },
    ctr: { type: "string", default: "ctr" },
    rootfs: { type: "string" },
    /** containerd's own shim, by name or path. */
    own: { type: "string", default: "io.containerd.runc.v2" },
    rounds: { type: "string", default: "20" },
  },
});
if (values.rootfs === undefined) throw new Error("--rootfs must name a folder with a root filesystem");

const example = (path: string) => fileURLToPath(new URL(`../examples/${path}`, import.meta.url));
const shims = {
  "containerd's own": values.own,
  "shim-runc": example("shim-runc/containerd-shim-noderunc-v1"),
  "shim-skeleton": example("shim-skeleton/containerd-shim-skeleton-v1"),
};
const global = ["--address", values.address, "--namespace", `bench-${process.pid}`];
const run = (runtime: string, ...flags: string[]) => [
  "run",
  "--runtime",
  runtime,
  ...flags,
  "--rootfs",
  values.rootfs!,
];
let count = 0;

const times: Record<string, number[]> = {};
for (let round = 0; round < Number(values.rounds); round++) {
  for (const [name, runtime] of Object.entries(shims)) {
    const start = performance.now();
    const args = [...global, ...run(runtime, "--rm"), `time-${count++}`, "/bin/echo", "x"];
    const child = spawn(values.ctr, args, { stdio: ["ignore", "pipe", "ignore"] });
    const closed = once(child, "close");
    await once(child.stdout, "data");
    (times[name] ??= []).push(performance.now() - start);
    await closed;
  }
}

const table: Record<string, object> = {};
for (const [name, runtime] of Object.entries(shims)) {
  const id = `memory-${count++}`;
  const ctr = (...args: string[]) =>
    execFileSync(values.ctr, [...global, ...args], { stdio: ["ignore", "pipe", "ignore"] });
  ctr(...run(runtime, "--detach", "--null-io"), id, "/bin/sleep", "100000");
  const pid = execFileSync("pgrep", ["-f", "--", `-id ${id} `], { encoding: "utf8" }).trim();
  await sleep(1000);
  const memory = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const mib = (field: string) =>
    Math.round(Number(new RegExp(`^${field}: +(\\d+)`, "m").exec(memory)?.[1]) / 102.4) / 10;
  const sorted = (times[name] ?? []).toSorted((a, b) => a - b);
  const at = (part: number) => Math.round(sorted[Math.floor((sorted.length - 1) * part)] ?? 0);
  table[name] = {
    "first output, ms": at(0.5),
    "p10 to p90": `${at(0.1)} to ${at(0.9)}`,
    "resident, MiB": mib("Rss"),
    "of its own, MiB": mib("Private_Dirty"),
  };
  ctr("task", "kill", "--signal", "SIGKILL", id);
  await sleep(500);
  ctr("task", "delete", id);
  ctr("container", "delete", id);
}
console.table(table);
