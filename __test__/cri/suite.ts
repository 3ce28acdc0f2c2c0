import { afterAll, beforeAll, beforeEach } from "vitest";

/** Something that tests need, runs in the background, and logs. */
export interface Running {
  stop(): Promise<void>;
  /** What it has logged since this was last called. */
  takeLog(): string;
}

/**
 * Starts something before the tests of a file or of a `describe`, and ends it after them; its log is shown where a test
 * fails. Returns a function that gives it.
 */
export function useRunning<T extends Running>(start: () => Promise<T>): () => T {
  let running: T | undefined;
  beforeAll(async () => {
    running = await start();
  });
  afterAll(async () => {
    await running?.stop();
  });
  beforeEach(({ onTestFailed }) => {
    running?.takeLog();
    onTestFailed(() => console.error(running?.takeLog()));
  });
  return () => {
    if (running === undefined) throw new Error("it has not been started");
    return running;
  };
}
