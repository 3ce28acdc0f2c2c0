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
