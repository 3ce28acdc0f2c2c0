/**
 * The quick comparison: this package's raw client, a plain JavaScript client and the native Rust client make the same
 * unary calls to the same native Rust server, interleaved, several rounds in one run. Prints medians, and the ratios
 * that matter.
 *
 * `npm run bench`, or `npm run bench -- --rounds 9 --seconds 2 --size 64`.
 */

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs, promisify } from "node:util";
import { connect } from "containerd-shim-protos";
import { PlainClient, requestPrefix } from "./contenders/plain-client.js";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "7" },
    seconds: { type: "string", default: "1" },
    size: { type: "string", default: "64" },
    inflight: { type: "string", default: "1,16,64,256,1024" },
  },
});
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
const payload = new Uint8Array(Number(values.size)).fill(0x61);
const points = values.inflight.split(",").map(Number);
const peer = join(import.meta.dirname, "../target/release/shim-peer");

const folder = mkdtempSync(join(tmpdir(), "ttrpc-bench-"));
const path = join(folder, "echo.sock");
const server = spawn(peer, ["echo", "--address", `unix://${path}`], { stdio: ["ignore", "pipe", "inherit"] });
await once(server.stdout, "data");

/** Keeps `inflight` calls going for `seconds`; returns calls a second. */
async function measure(inflight: number, call: () => Promise<unknown>): Promise<number> {
  let calls = 0;
  const start = performance.now();
  const until = start + seconds * 1000;
  const worker = async () => {
    while (performance.now() < until) {
      await call();
      calls++;
    }
  };
  await Promise.all(Array.from({ length: inflight }, worker));
  return calls / ((performance.now() - start) / 1000);
}

const connection = await connect(`unix://${path}`);
const plain = await PlainClient.connect(path);
const prefix = requestPrefix("test.Echo", "Echo");
let nativeCalls = 20_000;

const contenders: Record<string, (inflight: number) => Promise<number>> = {
  package: (inflight) => measure(inflight, () => connection.unary("test.Echo", "Echo", payload)),
  plain: (inflight) => measure(inflight, () => plain.unary(prefix, payload)),
  native: async (inflight) => {
    const load = `--inflight ${inflight} --calls ${nativeCalls} --size ${payload.length} --warmup 2000`;
    const target = `--address unix://${path} --service test.Echo --method Echo`;
    const { stdout } = await promisify(execFile)(peer, ["blast", ...`${target} ${load}`.split(" ")]);
    const { callsPerSecond } = JSON.parse(stdout) as { callsPerSecond: number };
    nativeCalls = Math.round(callsPerSecond * seconds);
    return callsPerSecond;
  },
};

const median = (numbers: number[]) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN;
const rows = [];
for (const inflight of points) {
  nativeCalls = inflight === 1 ? 10_000 : 50_000;
  const rates = Object.fromEntries(Object.keys(contenders).map((name) => [name, [] as number[]]));
  for (let round = -1; round < rounds; round++) {
    for (const [name, run] of Object.entries(contenders)) {
      const rate = await run(inflight);
      // The first round warms up.
      if (round >= 0) rates[name]?.push(rate);
    }
  }
  const ratio = (other: string) => {
    const ratios = (rates["package"] ?? []).map(
      (rate, round) => rate / (rates[other]?.[round] ?? Number.NaN),
    );
    const sorted = ratios.toSorted((a, b) => a - b);
    return `${median(ratios).toFixed(2)} (${sorted[0]?.toFixed(2)} to ${sorted.at(-1)?.toFixed(2)})`;
  };
  rows.push({
    "in flight": inflight,
    ...Object.fromEntries(
      Object.entries(rates).map(([name, all]) => [`${name} /s`, Math.round(median(all))]),
    ),
    "of plain": ratio("plain"),
    "of native": ratio("native"),
  });
}
console.table(rows);

await connection.close();
plain.close();
server.kill();
rmSync(folder, { recursive: true });
