import { delimiter } from "node:path";
import { describe, inject } from "vitest";
import { findTool, missingRequirements, REQUIRED, SEARCH_PATH } from "./requirements.js";

/** A containerd to test with. */
export interface Release {
  /** Such as "containerd 1.6.20". */
  readonly name: string;
  /** The search path for its programs and runc. */
  readonly path: string;
  /** What the machine lacks for it, in words that fit after "needs". */
  readonly missing: readonly string[];
}

/** The containerd of the machine's packages, which must be 1.x. */
export const packaged: Release = {
  name: "containerd 1.x",
  path: SEARCH_PATH,
  missing: missingRequirements(SEARCH_PATH, "1"),
};

/** The containerd 2.x that the tests build. */
export const built: Release = builtRelease(inject("containerd2"));

function builtRelease(folder: string | null): Release {
  const name = "containerd 2.x";
  if (folder === null) return { name, path: SEARCH_PATH, missing: ["go"] };
  const path = `${folder}${delimiter}${SEARCH_PATH}`;
  return { name, path, missing: missingRequirements(path, "2") };
}

/** `describe` for a release. If something is missing it is skipped and says so, or fails if it is required. */
export function describeWith(release: Release, name: string, suite: () => void): void {
  const { missing } = release;
  if (missing.length > 0 && REQUIRED) throw new Error(`this machine lacks ${missing.join(", ")}`);
  const note = missing.length > 0 ? ` (skipped: needs ${missing.join(", ")})` : "";
  describe.skipIf(missing.length > 0)(`${name}${note}`, () => {
    suite();
  });
}

/** `describe` once for each release. */
export function describeWithEach(name: string, suite: (release: Release) => void): void {
  for (const release of [packaged, built]) {
    describeWith(release, `${name}, ${release.name}`, () => suite(release));
  }
}

/** The path of one of a release's programs. */
export function toolOf(release: Release, name: string): string {
  const tool = findTool(name, release.path);
  if (tool === undefined) throw new Error(`${release.name} has no ${name}`);
  return tool;
}
