// Bundles the shim into one script. shimctl packs it into one program, with the native addon.

import { build } from "esbuild";

await build({
  entryPoints: ["main.ts"],
  outfile: "build/shim.cjs",
  bundle: true,
  platform: "node",
  target: "node20",
  format: "cjs",
  minify: true,
  // The native addon is in the packed program; the bundle alone finds it in node_modules. Neither needs this.
  logOverride: { "empty-import-meta": "silent" },
});
