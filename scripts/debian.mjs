/** Unpacks tools from Debian's packages into a folder: nothing is installed, and root is not needed. */

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

import { indent, UserError } from "./toolchain.mjs";

const run = promisify(execFile);

/**
 * Unpacks packages, with the dependencies that this machine lacks, and returns the folder. A folder that exists is
 * reused unchanged.
 *
 * @param {string} folder Where to unpack; created if missing.
 * @param {readonly string[]} packages Names in apt-get's notation, such as `musl:arm64`.
 * @param {{ release?: string, alone?: boolean }} [options] `release`: the name of another Debian release to take them
 * from. `alone`: leaves out their dependencies.
 */
export async function unpackDebian(folder, packages, { release, alone = false } = {}) {
  if (existsSync(folder)) return folder;
  const work = `${folder}.unpacking`;
  await rm(work, { recursive: true, force: true });
  const [lists, cache, target] = ["lists", "cache", "root"].map((name) => path.join(work, name));
  await Promise.all(
    [path.join(lists, "partial"), path.join(cache, "archives", "partial"), target].map((each) =>
      mkdir(each, { recursive: true }),
    ),
  );
  const options = [
    `Dir::State::Lists=${lists}`,
    `Dir::Cache=${cache}`,
    // The lists and the cache are our own, so nothing on the machine is locked, and no other user may read them.
    "Debug::NoLocking=1",
    "APT::Sandbox::User=root",
    ...(release === undefined ? [] : await sourcesOf(release, work)),
    ...new Set(packages.flatMap((name) => architectureOf(name))),
  ].flatMap((option) => ["-o", option]);
  const apt = (args, cwd) => tool("apt-get", [...options, "-qq", ...args], cwd);

  await apt(["update"], work);
  const archives = path.join(cache, "archives");
  if (alone) await apt(["download", ...packages], archives);
  else await apt(["install", "--download-only", "--no-install-recommends", "--yes", ...packages], archives);
  const debs = (await readdir(archives)).filter((name) => name.endsWith(".deb"));
  for (const deb of debs) await tool("dpkg-deb", ["--extract", path.join(archives, deb), target], work);

  await rename(target, folder);
  await rm(work, { recursive: true, force: true });
  return folder;
}

/** Options that make apt use another release from the machine's own sources. */
async function sourcesOf(release, work) {
  const own = /^VERSION_CODENAME=(\w+)$/m.exec(await readFile("/etc/os-release", "utf8"))?.[1];
  if (own === undefined) throw new UserError("/etc/os-release has no VERSION_CODENAME: is this Debian?");
  const file = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"].find(existsSync);
  if (file === undefined) throw new UserError("This machine's sources of Debian packages were not found.");
  const sources = path.join(work, path.basename(file));
  await writeFile(sources, (await readFile(file, "utf8")).replaceAll(own, release));
  return [`Dir::Etc::SourceList=${sources}`, "Dir::Etc::SourceParts=/dev/null"];
}

function architectureOf(name) {
  const architecture = name.split(":")[1];
  return architecture === undefined ? [] : [`APT::Architectures::=${architecture}`];
}

async function tool(command, args, cwd) {
  try {
    await run(command, args, { cwd, env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } });
  } catch (error) {
    if (error.code === "ENOENT") throw new UserError(`"${command}" was not found: this needs Debian.`);
    throw new UserError(`"${command} ${args.join(" ")}" failed.\n${indent(error.stderr || error.message)}`);
  }
}
