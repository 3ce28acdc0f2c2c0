import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Options, OptionsSchema } from "containerd-shim-protos/runc";
import type { ChildExit } from "containerd-shim-protos/shim";
import { readSpec } from "containerd-shim-protos/shim/spec";

/** Whether the container has a pid namespace of its own, which ends with its first process. False if nobody knows. */
export function ownsItsPids(bundle: string): boolean {
  try {
    const namespaces = readSpec(bundle).linux?.namespaces ?? [];
    return namespaces.some(({ type, path = "" }) => type === "pid" && path === "");
  } catch {
    return false;
  }
}

/** Keeps the options for whoever clears up after this shim. */
export function writeOptions(bundle: string, options: Options): void {
  writeWhole(join(bundle, "options.pb"), toBinary(OptionsSchema, options));
}

/** The options that were kept; undefined if the container was never created. */
export function readOptions(bundle: string): Options | undefined {
  const bytes = ifThere(() => readFileSync(join(bundle, "options.pb")));
  return bytes === undefined ? undefined : fromBinary(OptionsSchema, bytes);
}

/** Keeps how the container ended. */
export function writeExit(bundle: string, { pid, status, exitedAt }: ChildExit): void {
  writeWhole(join(bundle, "exit.json"), JSON.stringify({ pid, status, exitedAt }));
}

/** How the container ended, if its shim has lived to see it. */
export function readExit(bundle: string): ChildExit | undefined {
  const text = readIfThere(join(bundle, "exit.json"));
  if (text === undefined) return undefined;
  const { pid, status, exitedAt } = JSON.parse(text) as { pid: number; status: number; exitedAt: string };
  return { pid, status, exitedAt: new Date(exitedAt) };
}

/** The file in which runc leaves the pid of a process: the container's first, or one of an exec, whatever its id. */
export function pidFile(bundle: string, execId = ""): string {
  return join(bundle, execId === "" ? "init.pid" : `exec.${execId}.pid`);
}

/** Reads such a file; 0 if there is none. */
export function readPid(path: string): number {
  return Number(readIfThere(path) ?? 0);
}

/** The text of a file, or undefined if there is none. */
export const readIfThere = (path: string) => ifThere(() => readFileSync(path, "utf8"));

function ifThere<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    // ENODEV: a cgroup that was removed while its file was read.
    if (!["ENOENT", "ENODEV"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    return undefined;
  }
}

/** Writes a file atomically: nobody reads half of it, even if this process is killed. */
function writeWhole(path: string, content: string | Uint8Array): void {
  try {
    writeFileSync(`${path}.tmp`, content, { mode: 0o600 });
  } catch (error) {
    throw naming(path, error);
  }
  renameSync(`${path}.tmp`, path);
}

/** Writes what an exec is to run, for runc. */
export function writeProcess(path: string, json: string): void {
  try {
    writeFileSync(path, json, { mode: 0o600 });
  } catch (error) {
    throw naming(path, error);
  }
}

/** Node's errors of files name them, but not if a file takes no bytes, as on a full disk. */
function naming(path: string, error: unknown): Error {
  const failure = error as NodeJS.ErrnoException;
  if (failure.path === undefined) failure.message += ` '${path}'`;
  return failure;
}
