import { spawnSync } from "node:child_process";
import type { TestProject } from "vitest/node";
import { cargoBuild } from "./cargo.js";
import { buildGoPeer } from "./go-build.js";

declare module "vitest" {
  export interface ProvidedContext {
    /** The path of the Rust test peer; null where there is no cargo to build it with. */
    shimPeer: string | null;
    /** The path of the Go test peer; null where there is no go to build it with. */
    goPeer: string | null;
  }
}

/** Where a suite that cannot run must fail, because somebody counts on it. */
const REQUIRED = process.env["CI"] === "true" || process.env["SHIM_TESTS_REQUIRED"] === "1";

/** Builds the peers, which are most of what these tests are worth. */
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
