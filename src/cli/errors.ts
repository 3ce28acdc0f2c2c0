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

  constructor(readonly signal: NodeJS.Signals) {
    super(`interrupted by ${signal}`);
  }
}
