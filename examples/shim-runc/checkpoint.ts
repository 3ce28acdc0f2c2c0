import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { basename, delimiter, dirname, join } from "node:path";
import type { CheckpointOptions, Options } from "containerd-shim-protos/runc";
import type { CreateTaskRequest } from "containerd-shim-protos/task/v3";
import { attempt } from "./attempt.js";
import { invalidArgument, unimplemented, unknown } from "./errors.js";
import { findProgram } from "./programs.js";
import { criuPathOf, parentPathOf } from "./runtime-options.js";
import type { Launch, Runc } from "./runc.js";

/** Has runc write a checkpoint. If criu fails, its log is kept in the bundle, and the error says where. */
export async function checkpoint(
  runc: Runc,
  bundle: string,
  path: string,
  options: CheckpointOptions,
  criu: string,
) {
  const env = withCriu(criu);
  if (findProgram("criu", env["PATH"]) === undefined)
    throw unimplemented("a checkpoint needs criu, which is not installed");
  const parent = parentPathOf(options);
  const work = options.workPath || join(bundle, "work", "criu-work");
  mkdirSync(work, { recursive: true });
  try {
    const flags = [
      "--image-path",
      path,
      "--work-path",
      work,
      ...(parent === "" ? [] : ["--parent-path", parent]),
      ...(options.exit ? [] : ["--leave-running"]),
      ...(options.openTcp ? ["--tcp-established"] : []),
      ...(options.externalUnixSockets ? ["--ext-unix-sk"] : []),
      ...(options.terminal ? ["--shell-job"] : []),
      ...(options.fileLocks ? ["--file-locks"] : []),
      ...options.emptyNamespaces.flatMap((name) => ["--empty-ns", name]),
    ];
    await runc.checkpoint(flags, env);
  } catch (error) {
    const log = join(bundle, "criu-dump.log");
    await attempt(
      () => copyFileSync(join(work, "dump.log"), log),
      (cause) => console.warn(cause),
    );
    // The other lines name files that are about to be removed.
    const [reason] = (error as Error).message.split("\n");
    throw unknown(`${reason} path= ${log}`, error);
  } finally {
    if (options.workPath === "") rmSync(work, { recursive: true, force: true });
  }
}

/**
 * Has runc restore a container from the checkpoint that its request names. containerd has put the option `CriuImagePath`
 * there; `CriuWorkPath` is for criu's files.
 */
export function restore(runc: Runc, request: CreateTaskRequest, options: Options, launch: Launch) {
  const { bundle, checkpoint: image, parentCheckpoint: parent } = request;
  const flags = ["--image-path", image, "--work-path", options.criuWorkPath || join(bundle, "work")];
  if (parent !== "") flags.push("--parent-path", parent);
  return runc.restore(launch, flags, withCriu(criuPathOf(options)));
}

/** runc takes criu from its PATH, and ignores its flag for that since 1.1. */
function withCriu(path: string): Record<string, string> {
  const env = { ...process.env } as Record<string, string>;
  if (path === "") return env;
  if (basename(path) !== "criu")
    throw invalidArgument(`CriuPath must name a program called criu, not ${path}`);
  return { ...env, PATH: [dirname(path), env["PATH"] ?? ""].join(delimiter) };
}
