import { beforeAll, inject } from "vitest";
import { buildGo } from "../helpers/go-build.js";

/** The path of NRI's own Go code as a program; empty until the tests of the file begin, and without Go. */
export const nriPeer = { path: "" };

/** Builds the program before the tests of a suite that needs Go. */
export function withNriPeer(): void {
  beforeAll(() => {
    if (inject("goPeer") !== null) nriPeer.path = buildGo("nri", "nri-peer");
  }, 240_000);
}
