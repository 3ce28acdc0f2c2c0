import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { findTool } from "../containerd/requirements.js";
import { findStaticBusybox } from "../containerd/rootfs.js";

/** Where Debian's containernetworking-plugins are, and where others put them. */
export const CNI_FOLDERS: readonly string[] = ["/usr/lib/cni", "/opt/cni/bin"];

const PROGRAMS = {
  cc: "gcc",
  ip: "iproute2",
  iptables: "iptables",
  "pkg-config": "pkg-config",
  socat: "socat",
};

/** Debian's packages for what the machine lacks. */
function missingPackages(): string[] {
  const packages = Object.entries(PROGRAMS)
    .filter(([program]) => findTool(program) === undefined)
    .map(([, name]) => name);
  const plugins = ["bridge", "firewall", "host-local", "loopback", "portmap", "tuning"];
  const isPlugin = (name: string) => CNI_FOLDERS.some((folder) => existsSync(join(folder, name)));
  if (!plugins.every(isPlugin)) packages.push("containernetworking-plugins");
  if (findStaticBusybox() === undefined) packages.push("busybox-static");
  // Without it runc knows nothing of seccomp, which half of the specs ask for.
  if (
    findTool("pkg-config") === undefined ||
    spawnSync("pkg-config", ["--exists", "libseccomp"]).status !== 0
  ) {
    packages.push("libseccomp-dev");
  }
  return packages;
}

/**
 * Installs Debian's packages that are missing. Gives what is missing still, in words that fit behind "needs".
 *
 * @param programs what else the tests need, and is not installed
 */
export function installMissing(...programs: readonly string[]): string[] {
  if (process.platform !== "linux") return ["Linux"];
  const others = ["go", "setpriv", "unshare", ...programs].filter(
    (program) => findTool(program) === undefined,
  );
  if (process.geteuid?.() !== 0) others.push("root");
  const packages = missingPackages();
  if (packages.length === 0 || others.length > 0 || findTool("apt-get") === undefined)
    return [...others, ...packages];
  console.log(`installing ${packages.join(", ")}`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  for (const args of [["update"], ["install", "--yes", "--no-install-recommends", ...packages]]) {
    execFileSync("apt-get", ["-qq", ...args], { env, stdio: ["ignore", "ignore", "inherit"] });
  }
  return missingPackages();
}
