import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import type { Runtime } from "./consumer.js";
import { ROOT, tarballs } from "./release.js";

declare module "vitest" {
  export interface ProvidedContext {
    /** The Nodes that a release must run on. */
    runtimes: readonly Runtime[];
    /** The registry that this machine uses. */
    upstream: string;
  }
}

/** Downloads the Nodes, which takes a minute the first time. */
export default function setup(project: TestProject): void {
  if (!tarballs.every(existsSync)) {
    throw new Error(
      "there are no tarballs to test: run `npm run build:prebuilds` and `npm run pack:all` first",
    );
  }
  const output = (command: string, args: readonly string[]) =>
    execFileSync(command, args, { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  project.provide("runtimes", JSON.parse(output("node", [join("scripts", "runtimes.mjs")])) as Runtime[]);
  project.provide("upstream", output("npm", ["config", "get", "registry"]).trim());
}
