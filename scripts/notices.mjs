/** The licences of the crates that an addon contains, which must be distributed with it. */

import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

import { cargo, root } from "./toolchain.mjs";

const run = promisify(execFile);

/** Where the licence is of crates whose own packages lack it. */
const ELSEWHERE = {
  "Apache-2.0": path.join(root, "LICENSE"),
  napi: path.join(root, "node_modules/@napi-rs/cli/LICENSE"),
  "napi-sys": path.join(root, "node_modules/@napi-rs/cli/LICENSE"),
};

const RULE = `\n${"-".repeat(80)}\n\n`;

/** The text of THIRD-PARTY-NOTICES.txt for the addon of a target of rustc. */
export async function addonNotices(target) {
  const byText = new Map();
  for (const crate of await cratesOf(target)) {
    for (const file of await licenceFiles(crate)) {
      const text = (await readFile(file, "utf8")).trim();
      const crates = byText.get(text) ?? byText.set(text, []).get(text);
      crates.push(`${crate.name} ${crate.version} (${crate.license})`);
    }
  }
  const sections = [...byText].map(([text, crates]) => `${crates.join("\n")}\n\n${text}\n`);
  return [
    "The addon contains these crates, and the standard library of Rust (MIT OR Apache-2.0).\n",
    ...sections,
  ].join(RULE);
}

/** The crates that are linked into the addon: neither those that only its build runs nor those that only its tests use. */
async function cratesOf(target) {
  const args = ["metadata", "--locked", "--format-version", "1", "--filter-platform", target];
  const { stdout } = await run(cargo, args, { cwd: root, maxBuffer: Infinity });
  const { packages, resolve } = JSON.parse(stdout);
  const crates = new Map(packages.map((crate) => [crate.id, crate]));
  const nodes = new Map(resolve.nodes.map((node) => [node.id, node]));
  const found = new Set([resolve.root]);
  for (const id of found) {
    for (const { pkg, dep_kinds: kinds } of nodes.get(id).deps) {
      const runsInCompiler = crates.get(pkg).targets.some(({ kind }) => kind.includes("proc-macro"));
      if (!runsInCompiler && kinds.some(({ kind }) => kind === null)) found.add(pkg);
    }
  }
  found.delete(resolve.root);
  return [...found]
    .map((id) => crates.get(id))
    .toSorted((a, b) => (a.name < b.name || (a.name === b.name && a.version < b.version) ? -1 : 1));
}

/** The files to distribute with a crate. Of several licences to choose from, the MIT one is taken. */
async function licenceFiles({ name, version, license, manifest_path: manifest }) {
  const folder = path.dirname(manifest);
  const files = (await readdir(folder)).filter((file) => /^(?:licen[cs]e|notice|copyright)/i.test(file));
  const mit = files.find((file) => /^licen[cs]e.mit/i.test(file));
  const taken = mit === undefined ? files : files.filter((file) => file === mit || isMore(file));
  if (taken.length > 0) return taken.toSorted().map((file) => path.join(folder, file));
  const elsewhere = ELSEWHERE[name] ?? ELSEWHERE[license];
  if (elsewhere === undefined) throw new Error(`${name} ${version} has no licence file to distribute`);
  return [elsewhere];
}

/** Whether a file holds in addition to the licence. */
const isMore = (file) => /^notice|^copyright|third.party/i.test(file);
