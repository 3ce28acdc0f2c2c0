import { promises } from "node:fs";
import { join } from "node:path";
import type { CheckpointOptions, Options } from "containerd-shim-protos/runc";
import type { CreateTaskRequest } from "containerd-shim-protos/task/v3";
import { attempt } from "./attempt.js";
import { unimplemented, unknown } from "./errors.js";
import { findProgram } from "./programs.js";
import type { Launch, Runc } from "./runc.js";

/** Has runc write a checkpoint. If criu fails, its log is kept in the bundle, and the error says where. */
export async function checkpoint(runc: Runc, bundle: string, path: string, options: CheckpointOptions) {
  if (findProgram("criu") === undefined)
    throw unimplemented("a checkpoint needs criu, which is not installed");
  const work = options.workPath || join(bundle, "work", "criu-work");
  await promises.mkdir(work, { recursive: true });
  try {
    await runc.checkpoint([
      "--image-path",
      path,
      "--work-path",
      work,
      ...(options.exit ? [] : ["--leave-running"]),
      ...(options.openTcp ? ["--tcp-established"] : []),
      ...(options.externalUnixSockets ? ["--ext-unix-sk"] : []),
      ...(options.terminal ? ["--shell-job"] : []),
      ...(options.fileLocks ? ["--file-locks"] : []),
      ...options.emptyNamespaces.flatMap((name) => ["--empty-ns", name]),
    ]);
  } catch (error) {
    const log = join(bundle, "criu-dump.log");
    await attempt(
      () => promises.copyFile(join(work, "dump.log"), log),
      (cause) => console.warn(cause),
    );
    // The other lines name files that are about to be removed.
    const [reason] = (error as Error).message.split("\n");
    throw unknown(`${reason} path= ${log}`, error);
  } finally {
    if (options.workPath === "") await promises.rm(work, { recursive: true, force: true });
  }
}

/**
 * Has runc restore a container from the checkpoint that its request names. containerd has put the option `CriuImagePath`
 * there; `CriuWorkPath` is for criu's files.
 */
export function restore(runc: Runc, request: CreateTaskRequest, { criuWorkPath }: Options, launch: Launch) {
  const { bundle, checkpoint: image } = request;
  return runc.restore(launch, ["--image-path", image, "--work-path", criuWorkPath || join(bundle, "work")]);
}
