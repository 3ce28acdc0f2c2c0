/** What a client pays before it is at work, and what it then holds, beside grpc-js. */

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Started } from "../report/start.js";
import { ratios, spread } from "../report/statistics.js";

const STARTING = join(import.meta.dirname, "../contenders/starting.mjs");

/** What one process measures. */
interface Start {
  readonly importMs: number;
  /** MiB above an empty Node. */
  readonly first: number;
  readonly after: number;
}

async function measured(...args: string[]): Promise<unknown> {
  const { stdout } = await promisify(execFile)(process.execPath, [STARTING, ...args]);
  return JSON.parse(stdout);
}

/** Measures clients in turns, with a server for each. */
async function clients(rounds: number): Promise<Record<"package" | "grpc", Start[]>> {
  const folder = mkdtempSync(join(tmpdir(), "ttrpc-start-"));
  const names = ["package", "grpc"] as const;
  const pathOf = (name: string) => join(folder, `${name}.sock`);
  const servers = names.map((name) =>
    spawn(process.execPath, [STARTING, "serve", name, pathOf(name)], { stdio: ["pipe", "pipe", "inherit"] }),
  );
  try {
    await Promise.all(servers.map(({ stdout }) => once(stdout, "data")));
    const all = { package: [] as Start[], grpc: [] as Start[] };
    for (let round = 0; round < rounds; round++) {
      const empty = (await measured("empty")) as { readonly resident: number };
      for (const name of names) {
        const { importMs, first, after } = (await measured(name, pathOf(name))) as Start;
        all[name].push({ importMs, first: first - empty.resident, after: after - empty.resident });
      }
    }
    return all;
  } finally {
    for (const server of servers) server.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The rows of clients. */
export async function clientRows(rounds: number): Promise<Started[]> {
  const { package: ours, grpc } = await clients(rounds);
  const of = (starts: readonly Start[], what: keyof Start) => starts.map((start) => start[what]);
  return [
    {
      what: "import of the package and a typed service, of grpc-js's import",
      measured: ratios(of(ours, "importMs"), of(grpc, "importMs")),
      unit: "",
      goal: 1,
    },
    {
      what: "resident at the first typed call, above an empty Node",
      measured: spread(of(ours, "first")),
      other: spread(of(grpc, "first")),
      unit: " MiB",
      goal: 12,
    },
    {
      what: "resident after a second of calls, 64 in flight, above an empty Node",
      measured: spread(of(ours, "after")),
      other: spread(of(grpc, "after")),
      unit: " MiB",
      goal: 35,
    },
  ];
}
