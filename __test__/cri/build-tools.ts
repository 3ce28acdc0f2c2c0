import { execFileSync } from "node:child_process";
import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildContainerd2 } from "../containerd/build-containerd2.js";
import { buildGo } from "../helpers/go-build.js";

const CACHE = fileURLToPath(new URL("../../target/cri", import.meta.url));
/** Where the programs of the images are once they are built. */
export const IMAGE_PROGRAMS = join(CACHE, "programs");
const SOURCES = fileURLToPath(new URL("images/programs", import.meta.url));

/** Programs of one Go module, each built with the dependencies that the module itself names. */
interface Tools {
  readonly module: string;
  readonly version: string;
  /** The module's checksum, as in a go.sum. */
  readonly sum: string;
  /** The arguments of `go` for each program, before `-o`. */
  readonly programs: Readonly<Record<string, readonly string[]>>;
  readonly cgo?: boolean;
}

const STRIPPED = ["-trimpath", "-buildvcs=false", "-ldflags", "-s -w"];

const CRI_TOOLS: Tools = {
  module: "sigs.k8s.io/cri-tools",
  version: "v1.37.0",
  sum: "h1:BmTImEoTX3KPXCLwmIU9mfCC8umUqF4R8WibY9eVU9Y=",
  programs: {
    crictl: ["build", ...STRIPPED, "./cmd/crictl"],
    critest: ["test", "-c", "-trimpath", "-ldflags", "-s -w", "./cmd/critest"],
  },
};
const NERDCTL: Tools = {
  module: "github.com/containerd/nerdctl",
  version: "v1.7.7",
  sum: "h1:NmtSMmpF4qbS4aVj1/wyj2HTD3synzGFLXc4RC74Hwg=",
  programs: { nerdctl: ["build", ...STRIPPED, "./cmd/nerdctl"] },
};
/** Debian's is 1.1, which cannot map the ids of mounts and so has no pods with user namespaces. */
const RUNC: Tools = {
  module: "github.com/opencontainers/runc",
  version: "v1.4.3",
  sum: "h1:/bq84roxG30xEICkFodXzMEVQFs7kzo4lCiZME1uKxI=",
  programs: { runc: ["build", ...STRIPPED, "-tags", "seccomp,netgo,osusergo", "."] },
  cgo: true,
};

/** Builds what is missing, with the network, and gives the folders of all programs but those of the images. */
export function buildTools(): string[] {
  go(["build", ...STRIPPED, "-o", `${IMAGE_PROGRAMS}/`, "./..."], SOURCES, false);
  // The tests build it again, with what this build downloaded.
  buildGo("nri", "nri-peer");
  return [...[CRI_TOOLS, NERDCTL].map(build), buildRunc(), buildContainerd2()];
}

/** Builds runc alone, and gives its folder. */
export function buildRunc(): string {
  return build(RUNC);
}

function build({ module, version, sum, programs, cgo = false }: Tools): string {
  const folder = join(CACHE, `${module.replaceAll("/", "_")}-${version}`);
  if (existsSync(folder)) return folder;
  console.log(`building ${Object.keys(programs).join(" and ")} ${version}`);
  const unfinished = join(CACHE, `.${process.pid}-${version}`);
  try {
    const download = go(["mod", "download", "-json", `${module}@${version}`], SOURCES, false);
    const { Dir, Sum } = JSON.parse(download) as { Dir: string; Sum: string };
    if (Sum !== sum) throw new Error(`${module} ${version} has the checksum ${Sum}, not ${sum}`);
    for (const [name, [command = "", ...args]] of Object.entries(programs)) {
      const last = args.pop() ?? ".";
      go([command, "-mod=readonly", ...args, "-o", join(unfinished, name), last], Dir, cgo);
    }
    renameSync(unfinished, folder);
  } catch (error) {
    // Another run may have been faster.
    if (!existsSync(folder)) throw new Error(`go did not build ${module} ${version}`, { cause: error });
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  return folder;
}

function go(args: readonly string[], cwd: string, cgo: boolean): string {
  const env = { ...process.env, CGO_ENABLED: cgo ? "1" : "0", GOFLAGS: "", GOWORK: "off" };
  return execFileSync("go", args, { cwd, env, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
}
