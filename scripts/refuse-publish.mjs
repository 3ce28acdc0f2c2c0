/** npm runs this before it publishes the repository's folder, whose manifest names no platform packages. */

import { runMain, UserError } from "./toolchain.mjs";

await runMain(() => {
  if (process.env.npm_config_dry_run === "true") return;
  throw new UserError(
    "Publish the tarballs that `npm run pack:all` writes, not this folder: see docs/platforms.md.",
  );
});
