/**
 * Starts every script of package.json once, with its smallest load: `npm run test:scripts`, or only some of them: `npm
 * run test:scripts -- demo bench`. It fails if it does not know how to start a script, or a bench of bench/main.ts.
 */

import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import path from "node:path";

import { indent, root, runMain, UserError } from "./toolchain.mjs";

/** The arguments of each script's starts. */
const STARTS = {
  generate: [[]],
  "build:native": [[]],
  "build:ts": [[]],
  "build:shims": [[]],
  "fuzz:codec": [["--seconds", "1"]],
  parity: [["--seconds", "1", "--type", "containerd.types.Mount"]],
  demo: [["--calls", "1"]],
  bench: [
    ["--quick", "--only", "client/unary/64B/1x1", "--rounds", "1", "--seconds", "0.05", "--profile", "dev"],
    ["codec", "--rounds", "1", "--milliseconds", "1", "--starts", "1", "--only", "ForwardRequest"],
    "growth --most 100 --streams 100 --calls 100 --publishers 10 --rounds 1 --output artifacts/bench".split(
      " ",
    ),
    ["start", "--rounds", "1", "--idle", "0.1", "--output", "artifacts/bench"],
    ["events", "--rounds", "1", "--count", "1000", "--inflight", "16", "--profile", "dev"],
  ],
  soak: [["--seconds", "10"]],
  "soak:events": [["--count", "1000", "--publishers", "1", "--in-flight", "16", "--stop-seconds", "1"]],
  "test:node": [["24", "--project", "package", "__test__/package/node.test.ts"]],
};

/** Scripts that are not started here, and what starts them instead. */
const ELSEWHERE = {
  prepare: "npm ci",
  build: "the four scripts that it runs",
  prepublishOnly: "the packaging tests, which check that it refuses",
  version: "npm version; a packaging test checks that all versions are the same",
  format: "npm run format:check, which is the same without writing",
  "check:prebuilds": "npm run build:prebuilds, which ends with it, and the packaging tests",
  "test:docker": "whoever changes shim-runc, because it compiles Docker",
  "test:asan": "whoever changes the bridge, because it recompiles everything",
  "test:scripts": "this",
};

await runMain(async () => {
  const { scripts } = JSON.parse(await readFile(path.join(root, "package.json"), "utf8"));
  const ci = await readFile(path.join(root, ".ci", "run"), "utf8");
  const isStep = (name) => new RegExp(`\\bnpm (?:run )?${name}(?![\\w:-])`).test(ci);
  const problems = Object.keys(scripts)
    .filter((name) => !Object.hasOwn(STARTS, name) && !Object.hasOwn(ELSEWHERE, name) && !isStep(name))
    .map((name) => `${name}: nothing starts it; say in scripts/check-scripts.mjs how it is started`);
  for (const name of [...Object.keys(STARTS), ...Object.keys(ELSEWHERE)]) {
    if (!Object.hasOwn(scripts, name)) problems.push(`${name}: package.json has no such script any more`);
  }
  const benches = await readFile(path.join(root, "bench", "main.ts"), "utf8");
  for (const [, bench] of benches.matchAll(/^ {2}(\w+): \(\) => import/gm)) {
    // Without a name, calls are measured.
    if (bench === "calls" || STARTS.bench.some(([first]) => first === bench)) continue;
    problems.push(`bench -- ${bench}: nothing starts it; say in scripts/check-scripts.mjs how it is started`);
  }
  if (problems.length > 0) throw new UserError(problems.join("\n"));

  const wanted = process.argv.slice(2);
  for (const name of wanted) {
    if (!Object.hasOwn(STARTS, name))
      throw new UserError(`${name} is not one of ${Object.keys(STARTS).join(", ")}`);
  }
  const failures = [];
  for (const [name, starts] of Object.entries(STARTS)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    for (const args of starts) {
      const command = ["run", "--silent", name, ...(args.length > 0 ? ["--", ...args] : [])];
      const began = performance.now();
      const { code, output } = await ended("npm", command);
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      console.log(`${code === 0 ? "ok" : "FAILED"}  npm ${command.join(" ")} (${seconds} s)`);
      if (code !== 0) failures.push(`npm ${command.join(" ")}: ${code}\n${indent(output)}`);
    }
  }
  if (failures.length > 0) throw new UserError(failures.join("\n\n"));
});

/** Runs a program to its end. */
function ended(program, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => (output += text));
    }
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code: signal ?? code, output }));
  });
}
