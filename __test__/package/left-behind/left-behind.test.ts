import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { addonFile } from "../../../src/native/load.js";
import { temporaryPath } from "../../helpers/temp.js";

const report = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
const isGlibc = report.header.glibcVersionRuntime !== undefined;
const counter = `${temporaryPath()}.so`;

beforeAll(() => {
  if (!isGlibc) return;
  execFileSync("cc", ["-shared", "-fPIC", "-o", counter, join(import.meta.dirname, "blocks.c")]);
});
afterAll(() => rmSync(counter, { force: true }));

/** Prints how many more blocks live after a worker with `count` of each object of the addon. */
const SCRIPT = `
  const { Worker } = require("node:worker_threads");
  const os = require("node:os");
  const code = \`
    const { Port, BindingPump } = require(process.env.ADDON);
    const buffers = [0, 1].map(() => new Uint8Array(5 << 20));
    for (let i = 0; i < require("node:worker_threads").workerData; i++) {
      for (const thread of [false, true]) new Port(...buffers, () => {}, 1, thread, true);
      new BindingPump(() => {});
    }
  \`;
  const run = (workerData) =>
    new Promise((resolve, reject) => {
      new Worker(code, { eval: true, workerData }).on("exit", resolve).on("error", reject);
    });
  (async () => {
    await run(COUNT);
    await run(COUNT);
    const before = os.getPriority();
    await run(COUNT);
    console.log(os.getPriority() - before);
  })();
`;

it.skipIf(!isGlibc)("a worker that ends leaves none of its drivers and pumps behind", () => {
  const count = 30;
  const env = { ...process.env, LD_PRELOAD: counter, ADDON: addonFile() };
  const more = execFileSync(process.execPath, ["-e", SCRIPT.replaceAll("COUNT", String(count))], { env });
  // Node's own and napi-rs's memory for a worker is some blocks. One for each of ours would be 90.
  expect(Number(more)).toBeLessThan(count);
});
