import { Code, codeName } from "../code.js";
import { TtrpcError } from "../error.js";
import { lacksAddon } from "../native/load.js";
import { Interrupted, OutputError, UsageError } from "./errors.js";
import { ExitCode } from "./exit-code.js";

/** The code of why a connection ended or could not be made, such as `ECONNREFUSED`; undefined for any other error. */
export function transportCode(error: unknown): string | undefined {
  if (!(error instanceof TtrpcError) || error.code !== Code.Unavailable) return undefined;
  const code = (error.cause as { code?: unknown } | undefined)?.code;
  return typeof code === "string" ? code : undefined;
}

/** An error in one line. A status has its code before its message. */
export function headline(error: unknown): string {
  if (error instanceof TtrpcError && transportCode(error) === undefined) {
    return `${codeName(error.code)} (${error.code}): ${error.rawMessage}`;
  }
  return error instanceof Error ? error.message : String(error);
}

const OTHER_PROTOCOL =
  "another address if this one does not speak ttrpc: containerd's own socket speaks gRPC, a shim's speaks ttrpc";

/** For unix sockets, which are those of shims, and for calls. */
const SOCKET_HINTS: Readonly<Record<string, string | undefined>> = {
  ENOENT: "`shimctl ls`, which lists the shims of this host with their addresses",
  ECONNREFUSED: "`shimctl ls`: nothing listens on this socket any more",
  EACCES: "again as root: only its owner may use the socket",
  EPERM: "again as root: only its owner may use the socket",
  ETIMEDOUT: "a longer --timeout, or `shimctl ls` to see whether the shim answers at all",
  ECONNRESET: OTHER_PROTOCOL,
  ERR_TTRPC_CLOSED: OTHER_PROTOCOL,
};

/** Where no shim of this host is: another host, or a guest. `shimctl ls` does not list what is there. */
const ELSEWHERE = /^cannot connect to (?:tcp|vsock|hvsock):/;

const ELSEWHERE_HINTS: typeof SOCKET_HINTS = {
  ...SOCKET_HINTS,
  ENOENT: "another path: the hypervisor makes its socket when the guest starts",
  ECONNREFUSED: undefined,
  EACCES: "again as root",
  EPERM: "again as root",
  ETIMEDOUT: "a longer --timeout",
};

/** What to try after an error; undefined if no advice is better than the error itself. */
export function hint(error: unknown): string | undefined {
  if (error instanceof UsageError) return error.advice;
  const transport = transportCode(error);
  if (transport !== undefined) {
    const hints = ELSEWHERE.test((error as Error).message) ? ELSEWHERE_HINTS : SOCKET_HINTS;
    return hints[transport];
  }
  if (!(error instanceof TtrpcError)) return undefined;
  switch (error.code) {
    case Code.DeadlineExceeded:
      return "a longer --timeout";
    case Code.ResourceExhausted:
      return "a smaller message: ttrpc carries up to 4 MiB";
    case Code.Unimplemented:
      return "another method, or another version of the service: `shimctl ls` shows whether a shim serves containerd.task.v2.Task or containerd.task.v3.Task";
    default:
      return undefined;
  }
}

/** The exit code of an error. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof UsageError || lacksAddon(error)) return ExitCode.Usage;
  if (error instanceof OutputError) return ExitCode.Output;
  if (error instanceof Interrupted) return error.exitCode;
  if (transportCode(error) !== undefined) return ExitCode.Connection;
  return error instanceof TtrpcError ? ExitCode.Status : ExitCode.Software;
}
