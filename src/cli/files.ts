import { readFileSync } from "node:fs";
import { OutputError, UsageError } from "./errors.js";

/** Reads a file that the user named. */
export function readFile(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new UsageError(`cannot read ${file}: ${(error as Error).message}`);
  }
}

/** Why a place that can be written to does not take what is written. */
const FAILURES = new Set(["ENOSPC", "EDQUOT", "EFBIG", "EIO"]);

/** Runs what writes to a place that the user named. */
export function writing<T>(place: string, write: () => T): T {
  try {
    return write();
  } catch (error) {
    if (error instanceof UsageError) throw error;
    const { code = "", message } = error as NodeJS.ErrnoException;
    const text = `cannot write to ${place}: ${message}`;
    throw FAILURES.has(code) ? new OutputError(text) : new UsageError(text);
  }
}
