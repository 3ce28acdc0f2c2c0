import { printError } from "./stdout.js";

/** Says that shimctl has a fault, and where. */
export function printFault(error: unknown): void {
  const trace = (error as Error | undefined)?.stack ?? String(error);
  printError(`shimctl: a fault of shimctl itself: ${trace}`.split("\n"));
}
