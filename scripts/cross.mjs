/**
 * The tools that build the addons of all platforms on one machine: a rustc with the standard library of each target, or
 * with the library's source, and zig as C compiler and linker, run by cargo-zigbuild.
 */

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

import { unpackDebian } from "./debian.mjs";
import { indent, root, UserError } from "./toolchain.mjs";

const run = promisify(execFile);

/** Where the tools are kept. The folder's name contains what they depend on, so that a change fetches them again. */
const TOOLS = path.join(root, "target", "cross-tools");

const PYTHON_PACKAGES = ["ziglang==0.17.1", "cargo-zigbuild==0.24.1"];

/**
 * Finds a rustc for the targets: the machine's, if it has their standard libraries (`rustup target add`), otherwise
 * Debian's, whose packages have the library's source. Returns its path and the arguments that cargo needs with it.
 *
 * @param {readonly string[]} targets Rust's names of the targets.
 */
export async function findRustc(targets) {
  const own = process.env.RUSTC || "rustc";
  if (await hasTargets(own, targets)) return { rustc: own, args: [] };
  const debian = (await hasSource("/usr/bin/rustc")) ? "/usr/bin/rustc" : await unpackRustc();
  // The addon catches panics, so the library is built to unwind.
  return { rustc: debian, args: ["-Zbuild-std=std,panic_unwind"], unstable: true };
}

async function hasTargets(rustc, targets) {
  try {
    const folders = await Promise.all(
      targets.map((target) => run(rustc, ["--print", "target-libdir", "--target", target], { cwd: root })),
    );
    return folders.every(({ stdout }) => existsSync(stdout.trim()));
  } catch {
    return false;
  }
}

async function hasSource(rustc) {
  try {
    const { stdout } = await run(rustc, ["--print", "sysroot"], { cwd: root });
    return existsSync(path.join(stdout.trim(), "lib/rustlib/src/rust/library/Cargo.lock"));
  } catch {
    return false;
  }
}

/** Unpacks Debian's rustc and the source of its library. Returns a script that runs it in place. */
async function unpackRustc() {
  const folder = await unpackDebian(path.join(TOOLS, "rustc"), ["rustc-web", "rust-web-src"]).catch(
    (error) => {
      if (!(error instanceof UserError)) throw error;
      throw new UserError(
        `The installed rustc lacks the standard library of a target, and Debian's could not be fetched.\n${indent(error.message)}\n` +
          "With rustup, run `rustup target add` with the targets in package.json.",
      );
    },
  );
  const usr = path.join(folder, "usr");
  const script = path.join(folder, "rustc");
  const libraries = path.join(usr, "lib", "x86_64-linux-gnu");
  await writeFile(
    script,
    `#!/bin/sh\nLD_LIBRARY_PATH='${libraries}' exec '${usr}/bin/rustc' --sysroot '${usr}' "$@"\n`,
  );
  await chmod(script, 0o755);
  return script;
}

/** Installs zig and cargo-zigbuild, and returns the environment in which they run. */
export async function zigEnvironment() {
  const folder = path.join(TOOLS, PYTHON_PACKAGES.join("-"));
  if (!existsSync(folder)) {
    const work = `${folder}.installing`;
    await rm(work, { recursive: true, force: true });
    try {
      const args = ["-m", "pip", "install", "--quiet", "--target", work, ...PYTHON_PACKAGES];
      await run("python3", args);
    } catch (error) {
      throw new UserError(
        `zig and cargo-zigbuild could not be installed; they need python3 with pip (python3-pip on Debian).\n${indent(error.stderr || error.message)}`,
      );
    }
    await rename(work, folder);
  }
  const cache = (name) => path.join(TOOLS, `${name}-cache`);
  return {
    PATH: `${path.join(folder, "bin")}${path.delimiter}${process.env.PATH}`,
    CARGO_ZIGBUILD_ZIG_PATH: path.join(folder, "ziglang", "zig"),
    CARGO_ZIGBUILD_CACHE_DIR: cache("zigbuild"),
    ZIG_GLOBAL_CACHE_DIR: cache("zig"),
    ZIG_LOCAL_CACHE_DIR: cache("zig"),
  };
}
