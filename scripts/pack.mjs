/**
 * Writes the tarballs of a release into artifacts/: the main package, and one package for each platform.
 *
 * A copy is packed, with a manifest that differs from the repository's. It names the platform packages, which the
 * repository's cannot: they are on no registry before the release, so `npm ci` in a clone would not find them. It has no
 * scripts, so that nothing runs where the package is installed. And its `homepage`, `bugs` and `repository` all follow
 * from the line `repository` of the main package.
 */

import { execFile } from "node:child_process";
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

import { checkAddons } from "./addon.mjs";
import { addonNotices } from "./notices.mjs";
import { platforms } from "./platforms.mjs";
import { indent, root, runMain, UserError } from "./toolchain.mjs";
import { checkVersions } from "./versions.mjs";

const run = promisify(execFile);

const ARTIFACTS = path.join(root, "artifacts");
const STAGING = path.join(root, "target", "packages");

await runMain(async () => {
  await checkVersions();
  await checkAddons();
  await compile();
  await Promise.all([ARTIFACTS, STAGING].map((folder) => rm(folder, { recursive: true, force: true })));
  await mkdir(ARTIFACTS);

  for (const { folder, target } of platforms) {
    await pack(folder, { "THIRD-PARTY-NOTICES.txt": await addonNotices(target) }, (manifest) => manifest);
  }
  await pack(root, {}, ({ scripts: _scripts, devDependencies: _tools, napi: _napi, ...manifest }) => ({
    ...manifest,
    optionalDependencies: Object.fromEntries(
      platforms.map(({ packageName }) => [packageName, manifest.version]),
    ),
  }));
});

/** Compiles into an empty dist/, so that nothing without a source is packed. */
async function compile() {
  await rm(path.join(root, "dist"), { recursive: true, force: true });
  await npm(["run", "build:ts"], root);
}

/** Packs a copy of a package with a manifest of its own, and with texts that are made for it. */
async function pack(folder, texts, change) {
  const manifest = JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));
  const staged = path.join(STAGING, manifest.name);
  await mkdir(staged, { recursive: true });
  for (const file of [...manifest.files, "README.md"]) {
    await cp(path.join(folder, file), path.join(staged, file), { recursive: true });
  }
  await cp(path.join(root, "LICENSE"), path.join(staged, "LICENSE"));
  for (const [name, text] of Object.entries(texts)) await writeFile(path.join(staged, name), text);
  const published = {
    ...change(manifest),
    files: [...manifest.files, ...Object.keys(texts)],
    ...(await home(folder)),
  };
  await writeFile(path.join(staged, "package.json"), `${JSON.stringify(published, null, 2)}\n`);
  const { stdout } = await npm(["pack", "--json", "--pack-destination", ARTIFACTS], staged);
  const [{ filename, size, entryCount }] = JSON.parse(stdout);
  console.log(`artifacts/${filename}: ${entryCount} files, ${(size / 1024).toFixed(0)} KiB`);
}

/**
 * The home of a package, and where to report its bugs: the repository in which a release workflow runs, which npm compares
 * with the provenance of the package; otherwise the repository that the main package names.
 */
async function home(folder) {
  const { repository } = JSON.parse(await readFile(path.join(root, "package.json"), "utf8"));
  const name = process.env.GITHUB_REPOSITORY || repository.replace(/^github:/, "");
  const directory = path.relative(root, folder);
  const url = `https://github.com/${name}`;
  return {
    homepage: `${url}#readme`,
    bugs: { url: `${url}/issues` },
    repository: { type: "git", url: `git+${url}.git`, ...(directory === "" ? {} : { directory }) },
  };
}

async function npm(args, cwd) {
  try {
    return await run("npm", args, { cwd, maxBuffer: Infinity });
  } catch (error) {
    throw new UserError(`"npm ${args.join(" ")}" failed.\n${indent(error.stdout + error.stderr)}`);
  }
}
