/** Copies the version of package.json to every other place that names it. `npm version` runs this before it commits. */

import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

import { platforms } from "./platforms.mjs";
import { root, runMain, UserError } from "./toolchain.mjs";

const run = promisify(execFile);

/** The files that name the version, and the places in them. */
const places = [
  { file: "src/version.ts", pattern: /(?<=VERSION = ")[^"]+(?=")/ },
  { file: "Cargo.toml", pattern: /(?<=^\[package\]\n(?:.+\n)*?version = ")[^"]+(?=")/m },
  { file: "Cargo.lock", pattern: /(?<=name = "containerd-shim-protos-node"\nversion = ")[^"]+(?=")/ },
  ...platforms.map(({ folder }) => ({
    file: path.relative(root, path.join(folder, "package.json")),
    pattern: /(?<="version": ")[^"]+(?=")/,
  })),
];

/** Fails with a list of all places whose version differs from that of package.json. */
export async function checkVersions() {
  const version = await ownVersion();
  const found = await Promise.all(places.map(async (place) => ({ ...place, ...(await read(place)) })));
  const wrong = found.filter((place) => place.version !== version);
  if (wrong.length === 0) return;
  const list = wrong.map((place) => `  ${place.file} has ${place.version}`).join("\n");
  throw new UserError(`package.json has version ${version}, but\n${list}\n\`npm version\` sets all of them.`);
}

async function ownVersion() {
  return JSON.parse(await readFile(path.join(root, "package.json"), "utf8")).version;
}

async function read({ file, pattern }) {
  const text = await readFile(path.join(root, file), "utf8");
  const version = pattern.exec(text)?.[0];
  if (version === undefined) throw new UserError(`${file} has no version in the expected place.`);
  return { text, version };
}

if (process.argv[1] === import.meta.filename) {
  await runMain(async () => {
    const version = await ownVersion();
    for (const place of places) {
      const { text } = await read(place);
      await writeFile(path.join(root, place.file), text.replace(place.pattern, version));
    }
    await run("git", ["add", "--", ...places.map(({ file }) => file)], { cwd: root });
  });
}
