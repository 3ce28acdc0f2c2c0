/**
 * Bundles the command line, src/cli, with the packages that only it uses, so that they are not installed with the
 * library. The library itself and @bufbuild/protobuf stay outside, so the command runs the same code as a program that
 * imports them.
 */

import { cp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { build } from "esbuild";
import { root, runMain } from "./toolchain.mjs";

const source = path.join(root, "src/cli");
const target = path.join(root, "dist/cli");

/** The package's own modules. The bundle is next to them in dist, as its source is in src. */
const library = {
  name: "library",
  setup({ onResolve }) {
    onResolve({ filter: /^\.\.?\// }, ({ path: specifier, importer, resolveDir }) => {
      const resolved = path.join(resolveDir, specifier);
      const inside = resolved.startsWith(source + path.sep) || !importer.startsWith(source);
      if (inside) return undefined;
      return { path: path.relative(source, resolved), external: true };
    });
  },
};

await runMain(async () => {
  const manifest = JSON.parse(await readFile(path.join(root, "package.json"), "utf8"));
  await rm(target, { recursive: true, force: true });
  const { metafile } = await build({
    entryPoints: [path.join(source, "shimctl.ts")],
    outdir: target,
    absWorkingDir: root,
    bundle: true,
    // Each command loads only its own chunk.
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20.19",
    external: ["@bufbuild/protobuf"],
    plugins: [library],
    define: {
      SHIMCTL_VERSION: JSON.stringify(manifest.version),
      TEMPLATE_VERSIONS: JSON.stringify(templateVersions(manifest)),
    },
    // CommonJS packages require Node's built-in modules.
    banner: {
      js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);',
    },
    legalComments: "none",
    metafile: true,
    logLevel: "warning",
  });
  await writeFile(path.join(target, "THIRD-PARTY-NOTICES.txt"), await notices(metafile));
  await copyTemplate();
});

/** What `shimctl new-shim` writes: the template, with the service of the example. */
async function copyTemplate() {
  const folder = path.join(target, "new-shim");
  await cp(path.join(root, "templates/shim"), folder, { recursive: true });
  await cp(path.join(root, "examples/shim-skeleton/service.ts"), path.join(folder, "service.ts"));
}

/** The packages that the template needs, in the versions that this package is developed with. */
function templateVersions({ dependencies, devDependencies }) {
  const tools = ["@types/node", "esbuild", "typescript", "vitest"].map((name) => [
    name,
    devDependencies[name],
  ]);
  return { "@bufbuild/protobuf": dependencies["@bufbuild/protobuf"], ...Object.fromEntries(tools) };
}

/** The licences of the bundled packages, which must be distributed with them. */
async function notices({ inputs }) {
  const folders = Object.keys(inputs)
    .map((input) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1])
    .filter((folder) => folder !== undefined);
  const texts = [...new Set(folders)].toSorted().map(async (folder) => {
    const { name, version, license } = JSON.parse(
      await readFile(path.join(root, folder, "package.json"), "utf8"),
    );
    const file = (await readdir(path.join(root, folder))).find((entry) => /^licen[cs]e/i.test(entry));
    if (file === undefined) throw new Error(`${name} ${version} has no licence file to distribute`);
    const text = await readFile(path.join(root, folder, file), "utf8");
    return `${name} ${version} (${license})\n\n${text.trim()}\n`;
  });
  const rule = `\n${"-".repeat(80)}\n\n`;
  return `The command line contains these packages.\n\n${(await Promise.all(texts)).join(rule)}`;
}
