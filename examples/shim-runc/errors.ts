import { Code, TtrpcError } from "containerd-shim-protos";

/** The errors that containerd tells apart. */
export const notFound = (message: string) => new TtrpcError(`${message}: not found`, Code.NotFound);
export const alreadyExists = (message: string) =>
  new TtrpcError(`${message}: already exists`, Code.AlreadyExists);
export const failedPrecondition = (message: string) =>
  new TtrpcError(`${message}: failed precondition`, Code.FailedPrecondition);
export const unimplemented = (message: string) => new TtrpcError(message, Code.Unimplemented);
/** An error that containerd only shows. */
export const unknown = (message: string, cause?: unknown) => new TtrpcError(message, Code.Unknown, { cause });
