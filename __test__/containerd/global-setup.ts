import { spawnSync } from "node:child_process";
import type { TestProject } from "vitest/node";
import { buildContainerd2 } from "./build-containerd2.js";

declare module "vitest" {
  export interface ProvidedContext {
    /** The folder of containerd 2's programs; null if there is no Go to build them. */
    containerd2: string | null;
  }
}

export default function setup(project: TestProject): void {
  const go = spawnSync("go", ["version"]).error === undefined;
  project.provide("containerd2", go ? buildContainerd2() : null);
}
