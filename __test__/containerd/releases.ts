import { describe, inject } from "vitest";
import { builtRelease, packaged, type Release } from "./release.js";
import { REQUIRED } from "./requirements.js";

export { packaged, type Release, toolOf } from "./release.js";

/** The containerd 2.x that the tests build. */
export const built: Release = builtRelease(inject("containerd2"));

/** The release that a variable of the environment names by its major version; the packaged one if it names none. */
export function releaseOf(variable: string): Release {
  const major = process.env[variable] ?? "1";
  if (major === "1") return packaged;
  if (major === "2") return built;
  throw new Error(`${variable} must be 1 or 2, not ${major}`);
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
