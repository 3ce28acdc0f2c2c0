/**
 * The platforms for which a release has addons: their names, what builds them, and what they may require of a machine.
 */

import { readFileSync } from "node:fs";
import path from "node:path";

import { root } from "./toolchain.mjs";

const { name, napi } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));

const LIBRARIES = {
  gnu: ["libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libgcc_s.so.1"],
  musl: ["libc.so"],
};

/** The dynamic loaders that start an addon as a program. */
const LOADERS = {
  gnu: { x64: "/lib64/ld-linux-x86-64.so.2", arm64: "/lib/ld-linux-aarch64.so.1" },
  musl: { x64: "/lib/ld-musl-x86_64.so.1", arm64: "/lib/ld-musl-aarch64.so.1" },
};

const MACHINES = { x64: "X86-64", arm64: "AArch64" };

/** The newest glibc whose symbols an addon may need: that of RHEL 7. Node itself requires a newer one. */
export const GLIBC = "2.17";

/** The largest size of an addon. */
export const MAX_BYTES = 3 * 2 ** 20;

/** The platforms, in the order of package.json. */
export const platforms = napi.targets.map((target) => {
  const [, cpu, abi] = /^(x86_64|aarch64)-unknown-linux-(gnu|musl)$/.exec(target);
  const arch = cpu === "x86_64" ? "x64" : "arm64";
  const platform = `linux-${arch}-${abi}`;
  const folder = path.join(root, "npm", platform);
  return {
    /** The name in files and packages. */
    platform,
    /** Rust's name. */
    target,
    /** Rust's name with the oldest C library, in cargo-zigbuild's notation. */
    zigTarget: abi === "gnu" ? `${target}.${GLIBC}` : target,
    packageName: `${name}-${platform}`,
    folder,
    addon: path.join(folder, `${napi.binaryName}.${platform}.node`),
    /** The machine in an ELF header, as readelf prints it. */
    machine: MACHINES[arch],
    abi,
    /** The loader that it names, because it is a program too. */
    loader: LOADERS[abi][arch],
    /** The shared libraries that it may need. Node itself has loaded all of them. */
    libraries: [
      ...LIBRARIES[abi],
      ...(abi === "gnu" ? [arch === "x64" ? "ld-linux-x86-64.so.2" : "ld-linux-aarch64.so.1"] : []),
    ],
  };
});
