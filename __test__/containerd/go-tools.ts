import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const TARGET = fileURLToPath(new URL("../../target", import.meta.url));

/** Programs of one project in the versions of a go.mod of ours, which names them as its tools. */
export interface GoTools {
  /** The folder of that go.mod. */
  readonly folder: string;
  /** The module whose version is the programs' own, as go.mod spells it. */
  readonly module: string;
  /** Where in target/ the programs of each version are kept. */
  readonly cache: string;
  /** Build tags that leave out what is not needed. */
  readonly tags: readonly string[];
  /** The variables that hold the version the programs report. */
  readonly versionIn: readonly string[];
}

/** Builds the programs, unless they are in target/, and returns their folder. The first build takes the network. */
export function buildGoTools({ folder, module, cache, tags, versionIn }: GoTools): string {
  const requirement = readFileSync(join(folder, "go.mod"), "utf8")
    .split("\n")
    .find((line) => line.trim().startsWith(`${module} v`));
  const version = /v(\d[^\s+]*)/.exec(requirement?.trim().slice(module.length) ?? "")?.[1];
  if (version === undefined) throw new Error(`${folder}/go.mod requires no ${module}`);
  const programs = join(TARGET, cache, version);
  if (existsSync(programs)) return programs;
  console.log(`building ${module} ${version}`);
  const unfinished = join(TARGET, cache, `.${version}-${process.pid}`);
  try {
    const flags = ["-s -w", ...versionIn.map((variable) => `-X ${variable}=${version}`)].join(" ");
    const args = ["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-tags", tags.join(",")];
    execFileSync("go", [...args, "-ldflags", flags, "-o", `${unfinished}/`, "tool"], {
      cwd: folder,
      // Without cgo the programs need no libc, so any runc or busybox of the machine will do.
      env: { ...process.env, CGO_ENABLED: "0" },
      stdio: ["ignore", "inherit", "inherit"],
    });
    renameSync(unfinished, programs);
  } catch (error) {
    // Another run may have finished first.
    if (!existsSync(programs)) throw new Error(`go did not build ${module} ${version}`, { cause: error });
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  return programs;
}
