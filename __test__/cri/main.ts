/**
 * Runs shim-runc and containerd's own shim side by side as Kubernetes and nerdctl use them: `npm run test:cri`. Arguments
 * are vitest's.
 */

import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { REQUIRED, SEARCH_PATH } from "../containerd/requirements.js";
import { buildTools } from "./build-tools.js";
import { runOnMachine } from "./machine/machine.js";
import { installMissing } from "./requirements.js";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const SHIM = join(ROOT, "examples", "shim-runc");
const VITEST = join(ROOT, "node_modules", "vitest", "vitest.mjs");

const missing = installMissing();
if (missing.length > 0) {
  console.log(`skipped: needs ${missing.join(", ")}`);
  process.exitCode = REQUIRED ? 1 : 0;
} else {
  const path = [...buildTools(), SHIM, SEARCH_PATH].join(delimiter);
  // Where temporary files of a machine of its own are, which must be as short as a socket's path.
  const env = { ...process.env, PATH: path, TMPDIR: "/run/tmp" };
  const config = ["--config", join(ROOT, "vitest.cri.config.ts")];
  const command = [process.execPath, VITEST, "run", ...config, ...process.argv.slice(2)];
  process.exitCode = await runOnMachine(command, env);
}
