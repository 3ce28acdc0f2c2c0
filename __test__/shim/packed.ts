import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { build } from "esbuild";
import { ROOT } from "../helpers/program.js";
import { temporaryPath } from "../helpers/temp.js";
import { FIXTURE } from "./shim.js";

const SHIMCTL = join(ROOT, "dist", "cli", "shimctl.js");

/** Makes one script of the fixture, and returns its path. */
export async function bundleFixture(script = temporaryPath(".cjs")): Promise<string> {
  await build({
    entryPoints: [FIXTURE],
    outfile: script,
    bundle: true,
    platform: "node",
    format: "cjs",
    logLevel: "error",
    absWorkingDir: ROOT,
  });
  return script;
}

/** Makes a program of a script. */
export function pack(script: string, output: string, env: Record<string, string> = {}) {
  const args = [SHIMCTL, "pack", script, "--output", output];
  return spawnSync(process.execPath, args, { encoding: "utf8", env: { ...process.env, ...env } });
}

/** The same, which must work. */
export function mustPack(...given: Parameters<typeof pack>): void {
  const { status, stderr } = pack(...given);
  if (status !== 0 || stderr !== "") throw new Error(`shimctl pack ended with ${status}: ${stderr}`);
}
