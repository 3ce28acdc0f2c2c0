import { codeName, TtrpcError } from "../index.js";
import { ExitCode } from "./exit-code.js";

/** Something that the user has to do otherwise. */
export class UsageError extends Error {
  override readonly name = "UsageError";

  /** @param advice - What to try, as a sentence without its "try". */
  constructor(
    message: string,
    readonly advice?: string,
  ) {
    super(message);
  }
}

/** The process was asked to stop while it had something left to do. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";

  constructor(readonly signal: NodeJS.Signals) {
    super(`interrupted by ${signal}`);
  }
}

/** The code of what ended a connection or kept it from being made; undefined for any other error. */
export function transportCode(error: unknown): string | undefined {
  if (!(error instanceof TtrpcError)) return undefined;
  const code = (error.cause as { code?: unknown } | undefined)?.code;
  return typeof code === "string" ? code : undefined;
}

/** What an error says in one line. A status comes with its code. */
export function headline(error: unknown): string {
  if (error instanceof TtrpcError && transportCode(error) === undefined) {
    return `${codeName(error.code)} (${error.code}): ${error.message}`;
  }
  return error instanceof Error ? error.message : String(error);
}

const TRANSPORT_HINTS: Readonly<Record<string, string>> = {
  ENOENT: "`shimctl ls`, which lists the shims of this host with their addresses",
  ECONNREFUSED: "`shimctl ls`: nobody listens on this socket any more",
  EACCES: "again as root: a shim's socket is open to its own user only",
  EPERM: "again as root: a shim's socket is open to its own user only",
  ETIMEDOUT: "a longer --timeout, or `shimctl ls` to see whether the shim answers at all",
  ECONNRESET:
    "another address if this one does not speak ttrpc: containerd's own socket speaks gRPC, a shim's ttrpc",
  ERR_TTRPC_CLOSED:
    "another address if this one does not speak ttrpc: containerd's own socket speaks gRPC, a shim's ttrpc",
};

const DEADLINE_EXCEEDED = 4;
const RESOURCE_EXHAUSTED = 8;
const UNIMPLEMENTED = 12;

/** What to try after an error; undefined where there is nothing better than to read it. */
export function hint(error: unknown): string | undefined {
  if (error instanceof UsageError) return error.advice;
  const transport = transportCode(error);
  if (transport !== undefined) return TRANSPORT_HINTS[transport];
  if (!(error instanceof TtrpcError)) return undefined;
  switch (Number(error.code)) {
    case DEADLINE_EXCEEDED:
      return "a longer --timeout";
    case RESOURCE_EXHAUSTED:
      return "a smaller message: ttrpc carries up to 4 MiB";
    case UNIMPLEMENTED:
      return "another version of the service: a shim serves containerd.task.v2.Task or containerd.task.v3.Task";
    default:
      return undefined;
  }
}

/** The exit code of an error. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof UsageError) return ExitCode.Usage;
  if (error instanceof Interrupted) return error.signal === "SIGTERM" ? 143 : 130;
  if (transportCode(error) !== undefined) return ExitCode.Connection;
  return error instanceof TtrpcError ? ExitCode.Status : ExitCode.Software;
}
