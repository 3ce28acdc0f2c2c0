import { constants } from "node:os";

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

  /** What a shell says of a process that the signal ended. */
  readonly exitCode: number;

  constructor(signal: "SIGINT" | "SIGTERM") {
    super(`interrupted by ${signal}`);
    this.exitCode = 128 + constants.signals[signal];
  }
}
