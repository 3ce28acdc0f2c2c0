import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmSync } from "node:fs";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { describe } from "vitest";
import { PACKAGE } from "../helpers/package.js";
import { temporaryPath } from "../helpers/temp.js";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Commands that run a program with mounts of its own: what it mounts is seen by nobody else, and goes with it. */
const APART = ["unshare", "--mount", "--propagation", "private"] as const;

/** `describe` for what mounts: skipped, and saying so, where that is not allowed. */
export function describeMounts(name: string, suite: () => void): void {
  const [command, ...args] = APART;
  const allowed = spawnSync(command, [...args, "true"]).status === 0;
  const note = allowed ? "" : " (skipped: needs root and unshare)";
  describe.skipIf(!allowed)(`${name}${note}`, () => {
    suite();
  });
}

/** What each script has in scope. */
const PRELUDE = `
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { mountAll, supportsIdMapping, unmountAll } from "${PACKAGE}/shim/mount";

const [folder] = process.argv.slice(1);
const bundle = path.join(folder, "bundle");
const rootfs = path.join(bundle, "rootfs");

/** What is mounted: where, with which flags, of which type, with which options, and how it propagates. */
function table() {
  return fs.readFileSync("/proc/self/mountinfo", "utf8").trimEnd().split("\\n").map((line) => {
    const [head, tail] = line.split(" - ");
    const [, , , root, at, flags, ...optional] = head.split(" ");
    const [type, source, options] = tail.split(" ");
    return { at, root, flags: flags.split(","), type, source, options: options.split(","), optional };
  });
}
/** What is mounted in the folder of this test. */
const below = () => table().filter(({ at }) => at.startsWith(folder));
const before = counted();
/**
 * Whether the same is mounted as before. Only a mount that was copied from the machine may be gone, with its folder, which
 * the machine has removed.
 */
function asBefore() {
  const now = counted();
  const same = ([mount, times]) => now.get(mount) === times || !fs.existsSync(JSON.parse(mount).at);
  return [...before].every(same) && [...now.keys()].every((mount) => before.has(mount));
}
function counted() {
  const counts = new Map();
  for (const mount of table().map((entry) => JSON.stringify(entry))) counts.set(mount, (counts.get(mount) ?? 0) + 1);
  return counts;
}

/** Makes a folder with some files, and returns its path. */
function make(name, files = {}) {
  const made = path.join(folder, name);
  fs.mkdirSync(made, { recursive: true });
  for (const [file, content] of Object.entries(files)) fs.writeFileSync(path.join(made, file), content);
  return made;
}
/** An overlay of layers that are told apart by their files, as a snapshotter prepares it. */
function overlay(count, options = []) {
  const layers = Array.from({ length: count }, (_, i) => make(\`snapshots/\${i}/fs\`, { [\`of-\${i}\`]: String(i), every: String(i) }));
  const [upper, work] = [make("snapshots/upper/fs"), make("snapshots/upper/work")];
  const all = [...options, \`workdir=\${work}\`, \`upperdir=\${upper}\`, \`lowerdir=\${layers.join(":")}\`];
  return { type: "overlay", source: "overlay", options: all };
}
/** A process that swaps a folder "a" of an image and a link, as fast as it can, for as long as there is this one. */
async function startSwapping(to) {
  const swap = \`
    const fs = require("node:fs");
    const parent = process.ppid;
    process.chdir(process.argv[1]);
    fs.symlinkSync(process.argv[2], "link");
    process.stdout.write("ready");
    while (process.ppid === parent) {
      try { fs.renameSync("a", "away"); fs.renameSync("link", "a"); } catch {}
      try { fs.renameSync("a", "link"); fs.renameSync("away", "a"); } catch {}
    }
  \`;
  const swapper = spawn(process.execPath, ["-e", swap, rootfs, to], { stdio: ["ignore", "pipe", "inherit"] });
  await once(swapper.stdout, "data");
  return async () => {
    swapper.kill("SIGKILL");
    await once(swapper, "exit");
  };
}
/** What became of a promise: what was thrown, or nothing. */
const thrown = (promise) => promise.then(() => undefined, ({ message, code, syscall }) => ({ message, code, syscall }));
const tell = (value) => process.stdout.write(JSON.stringify(value));
fs.mkdirSync(rootfs, { recursive: true });
`;

/**
 * Runs a script with mounts of its own, which has `PRELUDE` in scope, and returns what it tells. Its folder is removed.
 */
export async function withMounts<T>(source: string, before = ""): Promise<T> {
  const folder = temporaryPath();
  mkdirSync(folder);
  const [command, ...args] = APART;
  const node = [process.execPath, "--input-type=module", "-e", PRELUDE + source, folder];
  const child = spawn(command, [...args, "sh", "-ec", `${before}\nexec "$@"`, "sh", ...node], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  rmSync(folder, { recursive: true, force: true });
  if (child.exitCode !== 0 || errors !== "") {
    throw new Error(`the script ended with ${child.signalCode ?? child.exitCode}\n${errors}`);
  }
  return JSON.parse(output) as T;
}
