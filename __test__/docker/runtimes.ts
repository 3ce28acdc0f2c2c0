import { join } from "node:path";
import { mkdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const FOLDER = "/run/engine/runtimes";
const OWN_TYPE = "io.containerd.runc.v2";
const NODE_TYPE = "io.containerd.noderunc.v1";
const SHIM = fileURLToPath(new URL("../../examples/shim-runc/containerd-shim-noderunc-v1", import.meta.url));

/** A shim, as `docker run --runtime` names it. */
export interface Runtime {
  readonly name: string;
  readonly runtime: string;
}

/** What Docker runs unless it is told otherwise. */
export const OWN: Runtime = { name: "containerd's own shim", runtime: "runc" };
export const NODE: Runtime = { name: "shim-runc", runtime: "noderunc" };

/** shim-runc without an entry in daemon.json: containerd finds the program of this type on its search path. */
export const BY_TYPE: Runtime = { name: "shim-runc by its type", runtime: NODE_TYPE };
/** shim-runc by the path of its program, which only daemon.json may name. */
export const BY_PATH: Runtime = { name: "shim-runc by its path", runtime: "by-path" };

/** A shim with options: the runc to run, where that keeps its state, and systemd's cgroups. */
export interface WithOptions extends Runtime {
  readonly runc: string;
  readonly root: string;
}

export const OWN_WITH_OPTIONS = withOptions(OWN);
export const NODE_WITH_OPTIONS = withOptions(NODE);
/** Options that Docker drops, since they are none of runtimeoptions.v1. */
export const NODE_WITH_LOST_OPTIONS = withOptions(NODE, "lost-options");

/** daemon.json's table of runtimes, by the name that `--runtime` takes. */
export const RUNTIMES = {
  [NODE.runtime]: { runtimeType: NODE_TYPE },
  [BY_PATH.runtime]: { runtimeType: SHIM },
  [OWN_WITH_OPTIONS.runtime]: { runtimeType: OWN_TYPE, options: runcOptions(OWN_WITH_OPTIONS) },
  [NODE_WITH_OPTIONS.runtime]: {
    runtimeType: NODE_TYPE,
    options: { TypeUrl: `${NODE_TYPE}.options`, ConfigPath: configPath(NODE_WITH_OPTIONS) },
  },
  [NODE_WITH_LOST_OPTIONS.runtime]: { runtimeType: NODE_TYPE, options: runcOptions(NODE_WITH_LOST_OPTIONS) },
};

/** Writes what the table refers to. */
export function configureRuntimes(): void {
  mkdirSync(FOLDER);
  for (const runtime of [OWN_WITH_OPTIONS, NODE_WITH_OPTIONS, NODE_WITH_LOST_OPTIONS]) {
    const options = Object.entries(runcOptions(runtime));
    const toml = options.map(([name, value]) => `${name} = ${JSON.stringify(value)}\n`);
    writeFileSync(configPath(runtime), toml.join(""));
    // It says what it was called for, and does without systemd.
    const script = [
      "#!/bin/sh",
      'echo "$*" >> "$0.calls"',
      'for arg; do shift; [ "$arg" = --systemd-cgroup ] || set -- "$@" "$arg"; done',
      'exec runc "$@"',
      "",
    ];
    writeFileSync(runtime.runc, script.join("\n"), { mode: 0o755 });
  }
}

function withOptions({ name, runtime }: Runtime, suffix = "options"): WithOptions {
  const named = `${runtime}-${suffix}`;
  const root = join(FOLDER, `root-of-${named}`);
  return { name: `${name} with ${suffix}`, runtime: named, runc: join(FOLDER, `runc-for-${named}`), root };
}

function runcOptions({ runc, root }: WithOptions): Readonly<Record<string, unknown>> {
  return { BinaryName: runc, Root: root, SystemdCgroup: true };
}

function configPath({ runtime }: WithOptions): string {
  return join(FOLDER, `${runtime}.toml`);
}
