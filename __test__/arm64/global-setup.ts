import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Runtime } from "../packaging/consumer.js";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const ADDON = join(ROOT, "npm/linux-arm64-gnu/containerd-shim-protos.linux-arm64-gnu.node");

/**
 * Makes vitest start its workers with the Node for arm64, because vitest forks `process.execPath`. vitest itself, which
 * transforms the files and collects the results, and the peers still run natively.
 */
export default function setup(): void {
  if (!existsSync(ADDON)) throw new Error("there is no addon for arm64: run `npm run build:prebuilds` first");
  const found = execFileSync("node", [join(ROOT, "scripts", "runtimes.mjs")], { encoding: "utf8" });
  const runtime = (JSON.parse(found) as Runtime[]).find(({ platform }) => platform === "linux-arm64-gnu");
  if (runtime === undefined) throw new Error("there is no Node for arm64");
  process.execPath = runtime.node;
  process.env["ARM64_NODE"] = runtime.node;
  process.env["NAPI_RS_NATIVE_LIBRARY_PATH"] = ADDON;
}
