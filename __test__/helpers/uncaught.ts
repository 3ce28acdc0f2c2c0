import { afterEach, beforeEach } from "vitest";

/**
 * Fails each test of the calling file that leaves an exception or a rejection uncaught. A test that expects one removes it
 * from the list.
 */
export function watchUncaught(): unknown[] {
  const uncaught: unknown[] = [];
  const onUncaught = (error: unknown) => uncaught.push(error);

  beforeEach(() => {
    uncaught.length = 0;
    process.on("uncaughtException", onUncaught).on("unhandledRejection", onUncaught);
  });

  afterEach(async () => {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    process.off("uncaughtException", onUncaught).off("unhandledRejection", onUncaught);
    if (uncaught.length > 0) throw new AggregateError(uncaught, "an error was not caught");
  });

  return uncaught;
}
