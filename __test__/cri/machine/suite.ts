import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { REQUIRED, SEARCH_PATH } from "../../containerd/requirements.js";
import { runOnMachine } from "./machine.js";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const SHIM = join(ROOT, "examples", "shim-runc");
const VITEST = join(ROOT, "node_modules", "vitest", "vitest.mjs");

/**
 * Runs the tests of one of vitest's configurations on a machine of its own, where shim-runc is on the search path. The
 * process then has their exit code. Arguments of the command line are vitest's.
 *
 * @param config its file, from the root of the repository
 * @param missing what the machine lacks, in words that fit behind "needs": then nothing runs
 * @param tools builds the programs that the tests need, and gives their folders
 */
export async function runSuite(
  config: string,
  missing: readonly string[],
  tools: () => readonly string[],
): Promise<void> {
  if (missing.length > 0) {
    console.log(`skipped: needs ${missing.join(", ")}`);
    process.exitCode = REQUIRED ? 1 : 0;
    return;
  }
  const path = [...tools(), SHIM, SEARCH_PATH].join(delimiter);
  // Where temporary files of a machine of its own are, which must be as short as a socket's path.
  const env = { ...process.env, PATH: path, TMPDIR: "/run/tmp" };
  const command = [process.execPath, VITEST, "run", "--config", join(ROOT, config), ...process.argv.slice(2)];
  process.exitCode = await runOnMachine(command, env);
}
