import { UsageError } from "./errors.js";

const HINTS: Readonly<Record<string, string>> = {
  EADDRINUSE: "another address: somebody listens on this one",
  EACCES: "an address in a folder that you may write to",
  ENOENT: "an address in a folder that is there",
};

/** The error of an address that cannot be listened on, from the system's code. */
export function listeningError(message: string, code: string): UsageError {
  return new UsageError(message, HINTS[code]);
}
