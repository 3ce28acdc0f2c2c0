/** The tools outside npm that a clone needs: finds the missing ones, and says how to install them. */

import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);

/** The repository's folder. */
export const root = fileURLToPath(new URL("..", import.meta.url));

/** The cargo to run; cargo itself and napi honour the same variable. */
export const cargo = process.env.CARGO || "cargo";

/** A failure whose message says everything, so that no stack trace is printed. */
export class UserError extends Error {}

/**
 * Runs a script's main function, and reports its failure: a {@link UserError} without a stack trace, others with it.
 */
export async function runMain(main) {
  try {
    await main();
  } catch (error) {
    console.error(error instanceof UserError ? error.message : error);
    process.exitCode = 1;
  }
}

/** The oldest Rust that builds the addon, as Cargo.toml declares it. */
async function requiredRust() {
  const manifest = await readFile(new URL("../Cargo.toml", import.meta.url), "utf8");
  const version = /^rust-version\s*=\s*"([\d.]+)"/m.exec(manifest)?.[1];
  if (version === undefined) throw new Error("Cargo.toml declares no rust-version");
  return version;
}

/**
 * Says what is wrong with this machine's cargo; returns undefined if it is good enough.
 *
 * @param {string} reason What cargo is needed for, as the end of a sentence.
 */
export async function cargoProblem(reason) {
  const required = await requiredRust();
  const howTo = [
    `  cargo ${required} or newer is needed ${reason}.`,
    "  Install it with rustup (https://rustup.rs), or update it with `rustup update stable`;",
    "  if it is installed already, put its folder (usually ~/.cargo/bin) into PATH.",
  ].join("\n");
  let output;
  try {
    output = (await run(cargo, ["--version"], { cwd: root })).stdout;
  } catch (error) {
    if (error.code === "ENOENT") return `cargo was not found (looked for "${cargo}").\n${howTo}`;
    // rustup's cargo fails like this when no toolchain is installed.
    return `"${cargo} --version" failed.\n${indent(error.stderr || error.message)}\n${howTo}`;
  }
  const found = /^cargo (\d+\.\d+(?:\.\d+)?)/.exec(output)?.[1];
  if (found === undefined) return `"${cargo} --version" printed ${JSON.stringify(output)}.\n${howTo}`;
  if (isOlder(found, required)) return `cargo ${found} is too old.\n${howTo}`;
  return undefined;
}

/** Says that there is no C linker; returns undefined if there is one. */
export async function linkerProblem() {
  // rustc links with cc unless it is configured otherwise, and then the user knows what is installed.
  if (Object.keys(process.env).some((name) => /^CARGO_TARGET_\w+_LINKER$/.test(name))) return undefined;
  try {
    await run("cc", ["--version"]);
    return undefined;
  } catch (error) {
    if (error.code !== "ENOENT") return undefined;
    return [
      "The C linker `cc` was not found.",
      "  Rust links the native addon with it.",
      "  Install it with your system's package manager: gcc on Debian, Ubuntu and Fedora, build-base on Alpine.",
    ].join("\n");
  }
}

/** Indents a tool's output below the line that introduces it. */
export function indent(text) {
  return text.trimEnd().replaceAll(/^/gm, "    ");
}

function isOlder(version, than) {
  const left = version.split(".").map(Number);
  const right = than.split(".").map(Number);
  for (let index = 0; index < 3; index++) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}
