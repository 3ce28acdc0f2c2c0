import { delimiter } from "node:path";
import { findTool, missingRequirements, SEARCH_PATH } from "./requirements.js";

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

/** The containerd 2.x whose programs are in a folder; null without Go, which builds them. */
export function builtRelease(folder: string | null): Release {
  const name = "containerd 2.x";
  if (folder === null) return { name, path: SEARCH_PATH, missing: ["go"] };
  const path = `${folder}${delimiter}${SEARCH_PATH}`;
  return { name, path, missing: missingRequirements(path, "2") };
}

/** The path of one of a release's programs. */
export function toolOf(release: Release, name: string): string {
  const tool = findTool(name, release.path);
  if (tool === undefined) throw new Error(`${release.name} has no ${name}`);
  return tool;
}
