import { removerOf } from "../server/socket-file.js";
import { notASocket } from "../shims/reason.js";
import { UsageError } from "./errors.js";

const HINTS: Readonly<Record<string, string>> = {
  EADDRINUSE: "another address: something listens on this one already",
  EACCES: "an address in a folder that you may write to",
  ENOENT: "an address in a folder that exists",
};

/** The error for an address that cannot be listened on; `code` is the system's, which is the same for a file at its path. */
export function listeningError(address: string, message: string, code: string): UsageError {
  const what = code === "EADDRINUSE" ? notASocket(address) : undefined;
  if (what === undefined) return new UsageError(message, HINTS[code]);
  return new UsageError(`cannot listen on ${address}: ${what}`, "another address");
}

/**
 * Has the file of a listening socket removed when the process ends, even by `process.exit`. Returns a function that
 * removes it, to be called while the socket still listens. Another file that has got the path meanwhile stays.
 */
export function removedAtExit(path: string): () => void {
  const remove = removerOf(path);
  process.once("exit", remove);
  return () => {
    process.off("exit", remove);
    remove();
  };
}
