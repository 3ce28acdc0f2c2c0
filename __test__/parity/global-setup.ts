import { spawnSync } from "node:child_process";
import type { TestProject } from "vitest/node";
import { buildParityPeer } from "./build.js";

declare module "vitest" {
  export interface ProvidedContext {
    /** The path of the Rust side of the parity tests; null if there is no cargo to build it. */
    parityPeer: string | null;
  }
}

/** Whether a suite that cannot run must fail instead of being skipped, as in CI. */
const REQUIRED = process.env["CI"] === "true" || process.env["SHIM_TESTS_REQUIRED"] === "1";

/** Builds the Rust side of the parity tests. */
export default function setup(project: TestProject): void {
  if (spawnSync("cargo", ["--version"]).error === undefined) {
    project.provide("parityPeer", buildParityPeer());
  } else if (REQUIRED) {
    throw new Error(
      "the tests need cargo, to build __test__/parity/rust: install Rust, see https://rustup.rs",
    );
  } else {
    project.provide("parityPeer", null);
  }
}
