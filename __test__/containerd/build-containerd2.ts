import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const MODULE = fileURLToPath(new URL("go", import.meta.url));
const CACHE = fileURLToPath(new URL("../../target/containerd-2", import.meta.url));

/** Build tags that leave out what plain containers on folders do not need. */
const TAGS = ["no_btrfs", "no_devmapper", "no_systemd", "no_tracing", "no_zfs"];

/**
 * Builds containerd, ctr and containerd-shim-runc-v2 of the release in go.mod, and returns their folder. The first build
 * takes the network and a minute or two; later ones are in target/. Kubernetes' interface, CRI, is half of the build, and
 * is left out unless it is asked for.
 */
export function buildContainerd2({ cri = false } = {}): string {
  const version = /containerd\/v2 v(\S+)/.exec(readFileSync(join(MODULE, "go.mod"), "utf8"))?.[1];
  if (version === undefined) throw new Error(`${MODULE}/go.mod requires no containerd`);
  const name = cri ? `${version}-cri` : version;
  const folder = join(CACHE, name);
  if (existsSync(folder)) return folder;
  const unfinished = join(CACHE, `.${name}-${process.pid}`);
  try {
    const flags = `-s -w -X github.com/containerd/containerd/v2/version.Version=${version}`;
    const tags = [...TAGS, ...(cri ? [] : ["no_cri"])].join(",");
    const args = ["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-tags", tags];
    execFileSync("go", [...args, "-ldflags", flags, "-o", `${unfinished}/`, "tool"], {
      cwd: MODULE,
      // Without cgo the programs need no libc, so any runc or busybox of the machine will do.
      env: { ...process.env, CGO_ENABLED: "0" },
      stdio: ["ignore", "inherit", "inherit"],
    });
    renameSync(unfinished, folder);
  } catch (error) {
    // Another run may have finished first.
    if (!existsSync(folder)) throw new Error(`go did not build containerd ${version}`, { cause: error });
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  return folder;
}
