import { removerOf } from "../server/socket-file.js";
import { UsageError } from "./errors.js";

const HINTS: Readonly<Record<string, string>> = {
  EADDRINUSE: "another address: something listens on this one already",
  EACCES: "an address in a folder that you may write to",
  ENOENT: "an address in a folder that exists",
};

/** The error for an address that cannot be listened on; `code` is the system's. */
export function listeningError(message: string, code: string): UsageError {
  return new UsageError(message, HINTS[code]);
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
