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

/** In a user namespace, or without capabilities, root is kept out like everybody else. */
export const AS_ROOT =
  process.getuid?.() === 0 ? "again as the host's root, with CAP_DAC_OVERRIDE" : "again as root";

/** For unix sockets, which are those of shims, and for calls. */
const SOCKET_HINTS: Readonly<Record<string, string | undefined>> = {
  ENOENT: "`shimctl ls`, which lists the shims of this host with their addresses",
  ECONNREFUSED: "`shimctl ls`: nothing listens on this socket any more",
  EACCES: `${AS_ROOT}: only its owner may use the socket`,
  EPERM: `${AS_ROOT}: only its owner may use the socket`,
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
  EACCES: AS_ROOT,
  EPERM: AS_ROOT,
  ETIMEDOUT: "a longer --timeout",
};

/** containerd's own sockets, for gRPC and for ttrpc, of which `shimctl ls` says nothing. */
const CONTAINERD = /^cannot connect to unix:.*\/containerd\.sock(?:\.ttrpc)?: /;

const CONTAINERD_HINTS: typeof SOCKET_HINTS = {
  ...SOCKET_HINTS,
  ENOENT:
    "another path if containerd runs, such as /run/k3s/containerd/containerd.sock; a container needs a mount of the socket's folder",
  ECONNREFUSED:
    "again once containerd runs; a container needs a mount of the socket's folder, because containerd makes a new socket when it starts",
  EACCES: `${AS_ROOT}, or in the socket's group`,
  EPERM: `${AS_ROOT}, or in the socket's group`,
  ETIMEDOUT: "a longer --timeout",
};

function hintsFor(message: string): typeof SOCKET_HINTS {
  if (ELSEWHERE.test(message)) return ELSEWHERE_HINTS;
  return CONTAINERD.test(message) ? CONTAINERD_HINTS : SOCKET_HINTS;
}

/** What to try after an error; undefined if no advice is better than the error itself. */
export function hint(error: unknown): string | undefined {
  if (error instanceof UsageError) return error.advice;
  const transport = transportCode(error);
  if (transport !== undefined) return hintsFor((error as Error).message)[transport];
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
