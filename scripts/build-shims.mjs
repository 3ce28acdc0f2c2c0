/** Makes a program of each example shim: bundles it into one script, which `shimctl pack` joins with the addon. */

import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { root, runMain } from "./toolchain.mjs";

const run = promisify(execFile);
const SHIMCTL = path.join(root, "dist", "cli", "shimctl.js");

const SHIMS = {
  "shim-skeleton": "containerd-shim-skeleton-v1",
  "shim-runc": "containerd-shim-noderunc-v1",
};

/** Bundles the package from its source, which esbuild takes only what is used from. */
function fromSource({ name, exports }) {
  return {
    name: "from-source",
    setup({ onResolve }) {
      onResolve({ filter: new RegExp(`^${name}(?:/|$)`) }, ({ path: specifier }) => {
        const entry = exports[`.${specifier.slice(name.length)}`].default;
        return { path: path.join(root, entry.replace(/^\.\/dist\/(.*)\.js$/, "src/$1.ts")) };
      });
    },
  };
}

await runMain(async () => {
  const manifest = JSON.parse(await readFile(path.join(root, "package.json"), "utf8"));
  await Promise.all(
    Object.entries(SHIMS).map(async ([name, program]) => {
      const folder = path.join(root, "examples", name);
      const outfile = path.join(folder, "build", "shim.cjs");
      await build({
        entryPoints: [path.join(folder, "main.ts")],
        outfile,
        bundle: true,
        platform: "node",
        target: "node20",
        format: "cjs",
        minify: true,
        legalComments: "none",
        plugins: [fromSource(manifest)],
        logOverride: { "empty-import-meta": "silent" },
      });
      await run(process.execPath, [SHIMCTL, "pack", outfile, "--output", path.join(folder, program)]);
    }),
  );
});
