import { beforeAll, inject } from "vitest";
import { buildGo } from "../helpers/go-build.js";

/** The path of NRI's own Go code as a program; empty until the tests of the file begin, and without Go. */
export const nriPeer = { path: "" };

/** Builds the program before the tests of a suite that needs Go: that of the newest NRI, or of an old one. */
export function withNriPeer(folder: "nri" | "nri-old" = "nri"): void {
  beforeAll(() => {
    if (inject("goPeer") !== null) nriPeer.path = buildGo(folder, `${folder}-peer`);
  }, 240_000);
}
