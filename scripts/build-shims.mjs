/**
 * Bundles each example shim into one file. containerd starts a shim's program several times for each container, and
 * Node loads one file several times faster than a hundred.
 */

import path from "node:path";
import { build } from "esbuild";
import { root } from "./toolchain.mjs";

/** The module next to which the package looks for its addon; a bundle beside the examples cannot find it by itself. */
const PACKAGE = path.join(root, "dist", "native", "load.js");

/** Makes the loader look for the addon in the package instead of next to the bundle. */
const inPackage = {
  name: "in-package",
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]dist[\\/]native[\\/]running-file\.js$/ }, () => ({
      contents: "export const ownFile = () => packageUrl;",
      loader: "js",
    }));
  },
};

await Promise.all(
  ["shim-skeleton", "shim-runc"].map(async (name) => {
    const folder = path.join(root, "examples", name);
    const outfile = path.join(folder, "build", "shim.cjs");
    const relative = path.relative(path.dirname(outfile), PACKAGE);
    await build({
      entryPoints: [path.join(folder, "main.ts")],
      outfile,
      bundle: true,
      platform: "node",
      target: "node20",
      format: "cjs",
      minify: true,
      legalComments: "none",
      define: { "import.meta.url": "packageUrl" },
      plugins: [inPackage],
      banner: {
        js: `const packageUrl = require("node:url").pathToFileURL(require("node:path").resolve(__dirname, ${JSON.stringify(relative)})).href;`,
      },
    });
  }),
);
