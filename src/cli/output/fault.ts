import { printError } from "./stdout.js";

/** Reports a bug in shimctl, with its stack trace. */
export function printFault(error: unknown): void {
  const trace = (error as Error | undefined)?.stack ?? String(error);
  printError(`shimctl: internal error: ${trace}`.split("\n"));
}
