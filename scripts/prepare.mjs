/**
 * Makes a clone usable: generates the protocol's TypeScript, builds the native addon, and compiles the TypeScript. npm
 * runs it at the end of `npm ci` and `npm install`, and before it packs or publishes.
 */

import { spawn } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";

import { cargoProblem, indent, linkerProblem, root, runMain, UserError } from "./toolchain.mjs";

const { name, version, napi } = JSON.parse(await readFile(path.join(root, "package.json"), "utf8"));

/** The sources of the addon, which is stale if any of them is newer. */
const RUST_SOURCES = ["crate", "build.rs", "Cargo.toml", "Cargo.lock"];

await runMain(async () => {
  const prebuilt = await findPrebuilt();
  await requireTools(prebuilt === undefined);

  await step("generate the TypeScript of the protocol", "generate");
  if (prebuilt === undefined) {
    await step("build the native addon (minutes the first time)", "build:native");
  } else {
    report(`build the native addon ... skipped, ${prebuilt}\n`);
  }
  await step("compile TypeScript", "build:ts");
  await step("bundle the example shims", "build:shims");
});

/** Says which addon makes the native build unnecessary; returns undefined if none does. */
async function findPrebuilt() {
  const given = process.env.NAPI_RS_NATIVE_LIBRARY_PATH;
  if (given) {
    if (existsSync(path.resolve(root, given))) return `NAPI_RS_NATIVE_LIBRARY_PATH names ${given}`;
    throw new UserError(`NAPI_RS_NATIVE_LIBRARY_PATH names ${given}, which does not exist.`);
  }
  const platform = await thisPlatform();
  const platformPackage = `${name}-${platform}`;
  try {
    const manifest = createRequire(import.meta.url)(`${platformPackage}/package.json`);
    if (manifest.version === version) return `${platformPackage} ${version} is installed`;
  } catch (error) {
    if (error.code !== "MODULE_NOT_FOUND") throw error;
  }
  const addon = `${napi.binaryName}.${platform}.node`;
  const built = statSync(path.join(root, addon), { throwIfNoEntry: false });
  if (built !== undefined && built.mtimeMs > (await newestChange())) return `${addon} is up to date`;
  return undefined;
}

/** The platform's name in files and packages, from the loader's own code. */
async function thisPlatform() {
  const { tsImport } = await import("tsx/esm/api").catch(() => {
    throw new UserError("prepare: tsx is missing: install the development dependencies with `npm ci`.");
  });
  const { currentPlatform, platformNames } = await tsImport("../src/native/platform.ts", import.meta.url);
  return platformNames(currentPlatform())[0];
}

/** When the newest Rust source was last changed. */
async function newestChange() {
  const nested = await readdir(path.join(root, "crate"), { recursive: true });
  const files = [...RUST_SOURCES, ...nested.map((file) => path.join("crate", file))];
  return Math.max(...files.map((file) => statSync(path.join(root, file)).mtimeMs));
}

/** Fails with everything that is missing, rather than with one thing in each run. */
async function requireTools(nativeBuild) {
  const reason = nativeBuild
    ? "to build the native addon and to find the .proto files the TypeScript is made from"
    : "to find the .proto files the TypeScript is made from (they come with the Rust crates)";
  const problems = await Promise.all([cargoProblem(reason), nativeBuild ? linkerProblem() : undefined]);
  const found = problems.filter((problem) => problem !== undefined);
  if (found.length === 0) return;
  const advice = "Then run `npm ci` again. `npm ci --ignore-scripts` installs without building anything.";
  throw new UserError(["prepare: this machine cannot build the package yet.", ...found, advice].join("\n\n"));
}

/** Runs one of package.json's scripts, and shows its output only if it fails. */
async function step(title, script) {
  report(`${title} ... `);
  const start = performance.now();
  const { code, output } = await npmRun(script);
  if (code !== 0) {
    process.stdout.write("failed\n");
    throw new UserError(`${indent(output)}\nprepare: \`npm run ${script}\` failed.`);
  }
  process.stdout.write(`${((performance.now() - start) / 1000).toFixed(1)} s\n`);
}

function report(text) {
  process.stdout.write(`prepare: ${text}`);
}

function npmRun(script) {
  // The npm that runs this script, because PATH may have another npm first, or none.
  const npm = process.env.npm_execpath;
  const [command, ...args] = npm?.endsWith("npm-cli.js") ? [process.execPath, npm] : ["npm"];
  // Every addon made with napi-rs reads this variable: rolldown would load ours in place of its own.
  const env = { ...process.env, NAPI_RS_NATIVE_LIBRARY_PATH: undefined };
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...args, "run", "--silent", script], {
      cwd: root,
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => {
        output += text;
      });
    }
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, output: signal ? `${output}\n${signal}` : output }));
  });
}
