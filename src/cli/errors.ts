import { constants } from "node:os";

/** The command line, or a file that it names, is wrong, and the user has to change it. */
export class UsageError extends Error {
  override readonly name = "UsageError";

  /**
   * @param advice - What to try: the rest of a sentence that begins with "try".
   * @param output - What a program that was run has printed, in lines.
   */
  constructor(
    message: string,
    readonly advice?: string,
    readonly output: readonly string[] = [],
  ) {
    super(message);
  }
}

/** The system did not take what was written, as when a disk is full. */
export class OutputError extends Error {
  override readonly name = "OutputError";
}

/** A signal stopped the process before it was done. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";

  /** The exit code with which a shell reports a process that the signal ended. */
  readonly exitCode: number;

  constructor(readonly signal: "SIGINT" | "SIGTERM" | "SIGHUP") {
    super(`interrupted by ${signal}`);
    this.exitCode = 128 + constants.signals[signal];
  }
}
