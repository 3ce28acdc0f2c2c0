import { spawnSync } from "node:child_process";
import {
  closeSync,
  fchmodSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { addonFile, PACKED } from "../../native/load.js";
import { DESCRIBE_VARIABLE } from "../../shim/run.js";
import { UsageError } from "../errors.js";
import { readFile, writing } from "../files.js";

/** The options of `shimctl pack`. */
export interface PackOptions {
  readonly output: string;
  readonly node?: string;
  readonly addon?: string;
  readonly nodeFlag?: readonly string[];
}

/** Ends a packed shim; the last byte is the version of the format (`crate/launcher/payload.rs`). */
const MAGIC = Buffer.from("CTRSHIM\x01", "latin1");

/**
 * One thread for V8's jobs is enough for a program that does little and waits long. This is a flag of Node's. With one of
 * V8's, Node compiles its own JavaScript anew, so those are set once the shim idles.
 */
const FLAGS = ["--v8-pool-size=1"];

/** What an ELF file begins with. */
const ELF = Buffer.from("\x7fELF", "latin1");
const ENTRY_AT = 24;

/** Writes a shim's script, the addon and a launcher into one program. */
export async function pack(script: string, options: PackOptions): Promise<void> {
  const own = addonFile();
  const file = options.addon ?? own;
  const addon = readFile(file);
  if (!isProgram(addon)) {
    throw new UsageError(
      `${file} is not a program: no addon of this version, or of a platform without a launcher`,
    );
  }
  // Within a function, a line that names an interpreter would be an error.
  const code = readFile(script).toString().replace(/^#!.*/, "");
  const text = `(function (exports, require, module, __filename, __dirname) {${code}\n})`;
  // V8 refuses code that was made with other flags.
  const flags = [...FLAGS, ...(options.nodeFlag ?? [])];
  const examined = examine(text, resolve(script), options.node ?? process.execPath, own, flags);
  // V8's code is for this machine's Node alone.
  const cache = options.addon === undefined ? examined.cache : Buffer.alloc(0);
  const source = Buffer.from(text);
  const meta = Buffer.from(
    JSON.stringify({
      ...examined.description,
      node: options.node ?? "",
      flags,
      script: [addon.length, source.length],
      cache: [addon.length + source.length, cache.length],
    }),
  );
  const length = Buffer.alloc(4);
  length.writeUInt32LE(meta.length);
  const program = Buffer.concat([addon, source, cache, meta, length, MAGIC]);
  writing(options.output, () => replace(resolve(options.output), program));
}

/**
 * Writes a program. One that runs is replaced, never overwritten. The file is always a new one that nobody else can open
 * before it is whole: a link that somebody has put in its place would lead elsewhere.
 */
function replace(output: string, program: Buffer): void {
  const unfinished = `${output}.new`;
  rmSync(unfinished, { force: true });
  const file = openSync(unfinished, "wx", 0o700);
  try {
    writeFileSync(file, program);
    fchmodSync(file, 0o755);
    renameSync(unfinished, output);
  } finally {
    closeSync(file);
    rmSync(unfinished, { force: true });
  }
}

function isProgram(addon: Buffer): boolean {
  if (addon.length < ENTRY_AT + 8 || !addon.subarray(0, ELF.length).equals(ELF)) return false;
  return addon.readBigUInt64LE(ENTRY_AT) !== 0n;
}

/** How long a shim may take to say what its launcher must know. */
const ANSWER_TIMEOUT_MS = 60_000;

/**
 * Runs a shim to ask what its launcher must know, and takes V8's code of all its functions. Node of the same version
 * then compiles nothing.
 */
function examine(text: string, path: string, node: string, addon: string, flags: readonly string[]) {
  const folder = writing(tmpdir(), () => mkdtempSync(join(tmpdir(), "shimctl-pack-")));
  try {
    const [source, cache] = [join(folder, "source"), join(folder, "cache")];
    writing(tmpdir(), () => writeFileSync(source, text));
    const { NODE_OPTIONS: _options, ...env } = process.env;
    const given = { SOURCE: source, CACHE: cache, SCRIPT: path, ADDON: addon };
    const { status, signal, stdout, stderr, error } = spawnSync(
      node,
      [...flags, "--no-warnings", "-e", EXAMINE],
      {
        encoding: "utf8",
        env: { ...env, ...given, [DESCRIBE_VARIABLE]: "1" },
        stdio: ["ignore", "pipe", "pipe"],
        timeout: ANSWER_TIMEOUT_MS,
        killSignal: "SIGKILL",
      },
    );
    const { code, message } = (error ?? {}) as NodeJS.ErrnoException;
    if (code === "ETIMEDOUT" || code === "ENOBUFS") throw notAShim(path);
    if (error !== undefined) throw new UsageError(`${node}: ${message}`);
    if (status !== 0) {
      const ended = status === null ? `was ended by ${signal}` : `ended with ${status}`;
      throw new UsageError(`${path} cannot be run: it ${ended}`, undefined, linesOf(stderr));
    }
    return { description: described(stdout, path), cache: readFileSync(cache) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function described(output: string, path: string): { name: string; groups: string[] } {
  try {
    return JSON.parse(output) as { name: string; groups: string[] };
  } catch {
    throw notAShim(path);
  }
}

function linesOf(text: string): string[] {
  return text.trim() === "" ? [] : text.trimEnd().split("\n");
}

function notAShim(path: string): UsageError {
  return new UsageError(`${path} does not call runShim, or does something else before it does`);
}

/** Compiles every function for the cache. The flag is part of what V8 compares, so it is taken back. */
const EXAMINE = `
const { readFileSync, writeFileSync } = require("node:fs");
const { createRequire } = require("node:module");
const { dirname } = require("node:path");
const { setFlagsFromString } = require("node:v8");
const { Script, constants } = require("node:vm");
const { setEnvironmentData } = require("node:worker_threads");
const { SOURCE, CACHE, SCRIPT, ADDON } = process.env;
setEnvironmentData(${JSON.stringify(PACKED)}, { file: ADDON, smallPages: false, openFiles: null });
setFlagsFromString("--no-lazy");
const script = new Script(readFileSync(SOURCE, "utf8"), {
  filename: SCRIPT,
  importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
});
setFlagsFromString("--lazy");
process.on("exit", () => writeFileSync(CACHE, script.createCachedData()));
script.runInThisContext()(module.exports, createRequire(SCRIPT), module, SCRIPT, dirname(SCRIPT));
`;
