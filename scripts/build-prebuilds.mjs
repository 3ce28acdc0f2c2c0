/** Builds the addon for every platform into npm/, and checks each. docs/platforms.md lists the requirements. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, rename } from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";

import { checkAddons } from "./addon.mjs";
import { findRustc, zigEnvironment } from "./cross.mjs";
import { platforms } from "./platforms.mjs";
import { cargo, cargoProblem, root, runMain, UserError } from "./toolchain.mjs";

/** Cargo's name of the addon. */
const LIBRARY = "libcontainerd_shim_protos_node.so";

/** A separate folder, since another rustc may build here than the one that builds for this machine. */
const OUTPUT = path.join(root, "target", "prebuilds");

await runMain(async () => {
  const problem = await cargoProblem("to build the addons");
  if (problem !== undefined) throw new UserError(problem);
  const { rustc, args, unstable } = await findRustc(platforms.map(({ target }) => target));
  const zig = await zigEnvironment();
  await build(rustc, args, { ...zig, ...(unstable ? { RUSTC_BOOTSTRAP: "1" } : {}) });
  for (const { target, addon } of platforms) {
    // A file that a process may have mapped is replaced, never overwritten.
    await copyFile(path.join(OUTPUT, target, "release", LIBRARY), `${addon}.new`);
    await rename(`${addon}.new`, addon);
  }
  await checkAddons();
});

async function build(rustc, args, environment) {
  const cargoHome = process.env.CARGO_HOME || path.join(homedir(), ".cargo");
  const flags = [
    // Node on musl is linked dynamically, so its addons must be too. For glibc this is the default.
    "-Ctarget-feature=-crt-static",
    // The location in a panic message names no folder of the machine that built the addon.
    `--remap-path-prefix=${cargoHome}=/cargo`,
    `--remap-path-prefix=${root}=/`,
  ];
  const targets = platforms.flatMap(({ zigTarget }) => ["--target", zigTarget]);
  const child = spawn("cargo-zigbuild", ["zigbuild", "--release", "--lib", "--locked", ...args, ...targets], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
    env: {
      ...process.env,
      ...environment,
      CARGO: cargo,
      RUSTC: rustc,
      CARGO_TARGET_DIR: OUTPUT,
      CARGO_ENCODED_RUSTFLAGS: flags.join("\u001F"),
    },
  });
  const [code, signal] = await once(child, "close");
  if (code !== 0) throw new UserError(`The addons could not be built (${signal ?? `exit status ${code}`}).`);
}
