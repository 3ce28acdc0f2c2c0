import { execFileSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { findStaticBusybox } from "./rootfs.js";

/** The search path of every process we start: a user's own PATH often lacks sbin, where Debian puts runc. */
export const SEARCH_PATH = [process.env["PATH"] ?? "", "/usr/local/sbin", "/usr/sbin", "/sbin"].join(
  delimiter,
);

/** Where a suite that cannot run must fail, because somebody counts on it. */
export const REQUIRED = process.env["CI"] === "true" || process.env["SHIM_TESTS_REQUIRED"] === "1";

export function findTool(name: string): string | undefined {
  return SEARCH_PATH.split(delimiter)
    .filter((folder) => folder !== "")
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

/** What this machine lacks for a real container, in words that fit behind "needs". Empty when it has all. */
export function missingRequirements(): string[] {
  if (process.platform !== "linux") return ["Linux"];
  const missing = ["containerd", "ctr", "runc", "containerd-shim-runc-v2"].filter((name) => !findTool(name));
  if (!missing.includes("containerd")) {
    const version = containerdVersion();
    // The runc shim of containerd 2 serves containerd.task.v3.Task only and writes no address file.
    if (!version.startsWith("1.")) missing.push(`containerd 1.x (this one says ${version})`);
  }
  if (!findStaticBusybox()) missing.push("a static busybox");
  if (process.geteuid?.() !== 0) missing.push("root");
  return missing;
}

function containerdVersion(): string {
  const output = execFileSync(findTool("containerd") ?? "containerd", ["--version"], { encoding: "utf8" });
  return /\bv?(\d+\.\d+\.\d+\S*)/.exec(output)?.[1] ?? output.trim();
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
