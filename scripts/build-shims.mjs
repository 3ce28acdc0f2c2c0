/**
 * Makes one file of each example shim. containerd starts a shim's program several times a container, and Node loads one
 * file several times faster than a hundred.
 */

import path from "node:path";
import { build } from "esbuild";
import { root } from "./toolchain.mjs";

/** Where the package looks for its addon from, which a bundle beside the examples cannot tell. */
const PACKAGE = path.join(root, "dist", "native", "load.js");

/** Has the loader take the package for where it runs, in place of the bundle. */
const inPackage = {
  name: "in-package",
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]dist[\\/]native[\\/]here\.js$/ }, () => ({
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
