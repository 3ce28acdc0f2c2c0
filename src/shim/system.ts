import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { getSystemErrorName } from "node:util";

/** Errors that filesystems have, and Node has no name for. The numbers are the same on x64 and arm64. */
const OF_FILESYSTEMS: Readonly<Record<number, string>> = {
  15: "ENOTBLK",
  117: "EUCLEAN",
  123: "ENOMEDIUM",
  124: "EMEDIUMTYPE",
  126: "ENOKEY",
};

/** The name of a system's error, whose number is below 0. */
export function errorName(errno: number): string {
  const name = getSystemErrorName(errno);
  if (!name.startsWith("Unknown")) return name;
  const known = Object.entries(constants.errno).find(([, number]) => number === -errno)?.[0];
  return known ?? OF_FILESYSTEMS[-errno] ?? `error ${-errno}`;
}

/** The result of a call of the addon that returns the system's error numbers below 0. Throws an Error with its `code`. */
export function checked(syscall: string, result: number): number {
  if (result >= 0) return result;
  const code = errorName(result);
  throw Object.assign(new Error(`${syscall}: ${code}`), { code, errno: result, syscall });
}

/**
 * When a process was started, in the kernel's ticks since boot: with its pid, this names one process and no later one.
 * Undefined if there is none. Throws the system's error if it cannot tell, such as EMFILE.
 */
export function startTime(pid: number): string | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch (error) {
    // ESRCH: it ended while its file was read.
    if (!["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    return undefined;
  }
  // The name, in brackets, may hold anything; the state behind it is the third field, and this is the 22nd.
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
}

/**
 * Sends a signal to a process, if it is there. Numbers are the kernel's own, so that the real-time signals, which have no name in
 * Node, can be sent. Throws the system's error if the signal is not permitted.
 */
export function sendSignal(pid: number, signal: NodeJS.Signals | number): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw error;
  }
}
