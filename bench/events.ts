/**
 * Measures typed events per second from one process to another: made, encoded, sent, decoded down to the message in the
 * envelope, handed to a consumer and acknowledged. Compares this package, plain JavaScript with protobuf-es, grpc-js,
 * and the native Rust publisher and server, interleaved, in several rounds of one run. Prints medians and the ratios
 * that matter.
 *
 * `npm run bench -- events`, or `npm run bench -- events --rounds 9 --inflight 64`. Fewer events than the default
 * mislead, because a process spends its first half second compiling. `--profile dev` uses the peer that the tests
 * build, which is not optimised; use it to try the bench itself.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { buildPeers } from "./run/build.js";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    count: { type: "string", default: "300000" },
    inflight: { type: "string", default: "1024" },
    profile: { type: "string", default: "release" },
  },
});
const rounds = Number(values.rounds);
const count = Number(values.count);
const { inflight } = values;
if (values.profile !== "dev" && values.profile !== "release") {
  throw new TypeError("--profile must be dev or release");
}
const { rust: peer } = buildPeers(values.profile);
const child = join(import.meta.dirname, "contenders/events/process.ts");
const folder = mkdtempSync(join(tmpdir(), "events-bench-"));
let sockets = 0;

type Side = (path: string, events: number) => [program: string, ...args: string[]];

const node = (name: string, role: string): Side => {
  const tsx = import.meta.resolve("tsx");
  return (path, events) => [
    process.execPath,
    "--import",
    tsx,
    child,
    name,
    role,
    path,
    `${events}`,
    inflight,
  ];
};
const rust = {
  serve: (path, events) => [
    peer,
    "events",
    "--address",
    `unix://${path}`,
    "--exit-on-stdin-eof",
    "--count",
    `${events}`,
  ],
  publish: (path, events) => [
    peer,
    "publish",
    "--address",
    `unix://${path}`,
    "--count",
    `${events}`,
    "--inflight",
    inflight,
  ],
} satisfies Record<string, Side>;
const ours = { publish: node("package", "publish"), serve: node("package", "serve") };

/** Publisher and server. grpc-js gets fewer events, since it takes thirty times as long. */
const contenders: Record<string, { publish: Side; serve: Side; share?: number }> = {
  package: ours,
  "plain JavaScript": { publish: node("plain", "publish"), serve: node("plain", "serve") },
  "grpc-js": { publish: node("grpc", "publish"), serve: node("grpc", "serve"), share: 0.1 },
  "package to Rust": { publish: ours.publish, serve: rust.serve },
  "Rust to package": { publish: rust.publish, serve: ours.serve },
  "Rust to Rust": rust,
};

async function measure({ publish, serve, share = 1 }: (typeof contenders)[string]): Promise<number> {
  const path = join(folder, `${sockets++}.sock`);
  const events = Math.ceil((count * share) / 1000) * 1000;
  const start = ([program, ...args]: [string, ...string[]]): ChildProcess =>
    spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
  const server = start(serve(path, events));
  const lines = createInterface({ input: server.stdout! })[Symbol.asyncIterator]();
  await lines.next();
  const publisher = start(publish(path, events));
  publisher.stdout?.resume();
  const exited = once(publisher, "exit");
  const { value } = await lines.next();
  const { seconds, ordered } = JSON.parse(String(value)) as { seconds: number; ordered: boolean };
  if (!ordered)
    console.error("events changed places:", publish(path, events)[0], serve(path, events).join(" "));
  const [code] = await exited;
  if (code !== 0) throw new Error(`the publisher ended with ${code}`);
  server.stdin?.end();
  await once(server, "exit");
  return events / seconds;
}

const median = (numbers: number[]) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN;
const rates = new Map<string, number[]>(Object.keys(contenders).map((name) => [name, []]));
for (let round = 0; round < rounds; round++) {
  for (const [name, contender] of Object.entries(contenders)) rates.get(name)?.push(await measure(contender));
}
const ratios = (other: string) =>
  (rates.get("package") ?? [])
    .map((rate, round) => rate / (rates.get(other)?.[round] ?? Number.NaN))
    .toSorted((a, b) => a - b);
console.table(
  Object.fromEntries(
    [...rates].map(([name, all]) => {
      const to = ratios(name);
      const range = `${to[0]?.toFixed(2)} to ${to.at(-1)?.toFixed(2)}`;
      return [name, { "events/s": Math.round(median(all)), "package is": median(to).toFixed(2), range }];
    }),
  ),
);
rmSync(folder, { recursive: true });
