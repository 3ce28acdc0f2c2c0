/**
 * Runs the addon under AddressSanitizer, which finds uses of freed memory: `npm run test:asan`, or with arguments for
 * vitest. Runs the Rust tests, and the suites in which payloads, workers and streams come and go.
 *
 * Stable Rust includes the sanitizer's runtime; RUSTC_BOOTSTRAP makes rustc accept the flag. Node loads gcc's runtime
 * first. Reads by V8's own code are not checked, and neither are leaks, because V8 frees nothing when a process exits.
 */

import { execFileSync, spawn } from "node:child_process";
import { copyFileSync } from "node:fs";
import path from "node:path";

import { cargo, root, runMain, UserError } from "./toolchain.mjs";

const TARGETS = { x64: "x86_64-unknown-linux-gnu", arm64: "aarch64-unknown-linux-gnu" };

const SUITES = [
  "__test__/both-drivers/large-payloads.test.ts",
  "__test__/both-drivers/lifecycle.test.ts",
  "__test__/both-drivers/workers/transferred.test.ts",
];

await runMain(async () => {
  const target = TARGETS[process.arch];
  const runtime = execFileSync("gcc", ["-print-file-name=libasan.so"], { encoding: "utf8" }).trim();
  if (target === undefined || !path.isAbsolute(runtime)) {
    throw new UserError("test:asan needs glibc on x64 or arm64, and gcc with its libasan.");
  }
  const folder = path.join(root, "target", "asan");
  const env = {
    ...process.env,
    RUSTC_BOOTSTRAP: "1",
    RUSTFLAGS: "-Zsanitizer=address --cfg address_sanitizer",
    CARGO_TARGET_DIR: folder,
    CARGO_PROFILE_RELEASE_LTO: "off",
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS: "16",
    CARGO_PROFILE_RELEASE_STRIP: "none",
    CARGO_PROFILE_RELEASE_DEBUG: "line-tables-only",
    ASAN_OPTIONS: "detect_leaks=0",
  };
  const options = ["--release", "--lib", "--locked", "--target", target];
  await ended(cargo, ["build", ...options], env);
  await ended(cargo, ["test", ...options], env);
  const built = path.join(folder, target, "release", "libcontainerd_shim_protos_node.so");
  // Node distinguishes an addon from a script by its name.
  const addon = path.join(folder, "addon.node");
  copyFileSync(built, addon);
  const given = process.argv.slice(2);
  const vitest = path.join(root, "node_modules", "vitest", "vitest.mjs");
  const args = [vitest, "run", "--config", "vitest.asan.config.ts", ...(given.length > 0 ? given : SUITES)];
  await ended(process.execPath, args, {
    ...process.env,
    ASAN_ADDON: addon,
    // The sanitizer keeps freed memory for a while, which fails tests of resident memory.
    ASAN_OPTIONS: "detect_leaks=0:quarantine_size_mb=64",
    LD_PRELOAD: runtime,
  });
});

/** Runs a program to its end, and fails if the program fails. */
async function ended(program, args, env) {
  const child = spawn(program, args, { cwd: root, env, stdio: "inherit" });
  const status = await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve(signal ?? code));
  });
  if (status !== 0) throw new UserError(`"${program} ${args.join(" ")}" ended with ${status}.`);
}
