import { Code, TtrpcError } from "containerd-shim-protos";
import { Status } from "containerd-shim-protos/task/v3";

/** The errors that containerd tells apart. */
export const notFound = (message: string) => new TtrpcError(`${message}: not found`, Code.NotFound);
export const alreadyExists = (message: string) =>
  new TtrpcError(`${message}: already exists`, Code.AlreadyExists);
export const failedPrecondition = (message: string) =>
  new TtrpcError(`${message}: failed precondition`, Code.FailedPrecondition);
export const invalidArgument = (message: string) =>
  new TtrpcError(`${message}: invalid argument`, Code.InvalidArgument);
export const unimplemented = (message: string) => new TtrpcError(message, Code.Unimplemented);
/** An error that containerd only shows. */
export const unknown = (message: string, cause?: unknown) => new TtrpcError(message, Code.Unknown, { cause });

/** In containerd's words, and under the code that it gives them. */
export function wrongState(what: string, status: Status): Error {
  const state = Status[status]?.toLowerCase() ?? "unknown";
  if (what === "exec") return unknown(`cannot exec in a ${state} state`);
  const ofProcess = what === "start" || what === "delete" || status === Status.RUNNING;
  if (status === Status.CREATED && !ofProcess) {
    return unknown(`cannot ${what} ${what === "checkpoint" ? "a task" : "task"} in created state`);
  }
  return unknown(`cannot ${what} a ${state} ${ofProcess ? "process" : "container"}`);
}

/** The same for a container that has been deleted. */
export function deleted(what: string): Error {
  if (what === "delete") return notFound("container not created");
  const message = `cannot ${what} a deleted process`;
  return what === "kill" ? notFound(message) : unknown(message);
}
