import { spawnSync } from "node:child_process";
import type { TestProject } from "vitest/node";
import { cargoBuild } from "./cargo.js";
import { buildGoPeer } from "./go-build.js";

declare module "vitest" {
  export interface ProvidedContext {
    /** The path of the Rust test peer; null if there is no cargo to build it. */
    shimPeer: string | null;
    /** The path of the Go test peer; null if there is no Go to build it. */
    goPeer: string | null;
  }
}

/** Whether a suite that cannot run must fail instead of being skipped, as in CI. */
const REQUIRED = process.env["CI"] === "true" || process.env["SHIM_TESTS_REQUIRED"] === "1";

/** Builds the peers, without which these tests are worth little. */
export default function setup(project: TestProject): void {
  provideShimPeer(project);
  provideGoPeer(project);
}

function provideShimPeer(project: TestProject): void {
  if (spawnSync("cargo", ["--version"]).error === undefined) {
    project.provide("shimPeer", cargoBuild("shim-peer"));
  } else if (REQUIRED) {
    throw new Error(
      "the tests need cargo, to build the Rust peer in __test__/peers/rust: install Rust, see https://rustup.rs",
    );
  } else {
    project.provide("shimPeer", null);
  }
}

function provideGoPeer(project: TestProject): void {
  if (spawnSync("go", ["version"]).error === undefined) {
    project.provide("goPeer", buildGoPeer());
  } else if (REQUIRED) {
    throw new Error(
      "the tests need go, 1.25 or later, to build the Go peer in __test__/peers/go: see https://go.dev/dl",
    );
  } else {
    project.provide("goPeer", null);
  }
}
