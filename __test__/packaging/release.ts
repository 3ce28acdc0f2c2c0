import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder of the repository. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const ARTIFACTS = join(ROOT, "artifacts");

interface Manifest {
  readonly name: string;
  readonly version: string;
}

export const { name: NAME, version: VERSION } = JSON.parse(
  readFileSync(join(ROOT, "package.json"), "utf8"),
) as Manifest;

export const PLATFORMS = ["linux-arm64-gnu", "linux-arm64-musl", "linux-x64-gnu", "linux-x64-musl"] as const;

export type PlatformName = (typeof PLATFORMS)[number];

/** The tarballs of a release, in the order of publication: the main package comes last. */
export const tarballs: readonly string[] = [
  ...PLATFORMS.map((platform) => tarballOf(`${NAME}-${platform}`)),
  tarballOf(NAME),
];

/** The tarball of a package. */
export function tarballOf(packageName: string): string {
  return join(ARTIFACTS, `${packageName}-${VERSION}.tgz`);
}

/** The names of everything in artifacts/. */
export function packed(): string[] {
  return readdirSync(ARTIFACTS).toSorted();
}
