import { execFileSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { findStaticBusybox } from "./rootfs.js";

/** The search path of every process we start. A user's PATH often lacks sbin, where Debian puts runc. */
export const SEARCH_PATH = [process.env["PATH"] ?? "", "/usr/local/sbin", "/usr/sbin", "/sbin"].join(
  delimiter,
);

/** Whether a suite that cannot run must fail instead of being skipped, as in CI. */
export const REQUIRED = process.env["CI"] === "true" || process.env["SHIM_TESTS_REQUIRED"] === "1";

export function findTool(name: string, path = SEARCH_PATH): string | undefined {
  return path
    .split(delimiter)
    .filter((folder) => folder !== "")
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

/** What is missing for real containers of a containerd on this search path, in words that fit after "needs". */
export function missingRequirements(path: string, major: string): string[] {
  if (process.platform !== "linux") return ["Linux"];
  const programs = ["containerd", "ctr", "runc", "containerd-shim-runc-v2", "ps", "script", "umount"];
  const missing = programs.filter((name) => !findTool(name, path));
  if (!missing.includes("containerd")) {
    const version = containerdVersion(findTool("containerd", path) ?? "containerd");
    if (!version.startsWith(`${major}.`)) missing.push(`containerd ${major}.x (this one says ${version})`);
  }
  if (!findStaticBusybox()) missing.push("a static busybox");
  if (process.geteuid?.() !== 0) missing.push("root");
  return missing;
}

function containerdVersion(program: string): string {
  const output = execFileSync(program, ["--version"], { encoding: "utf8" });
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
