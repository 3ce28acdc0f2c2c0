import { performance } from "node:perf_hooks";

/**
 * The milliseconds of Node's own monotonic clock, whatever a test framework puts in its place later. Fake timers replace the
 * method `now` in the object that `node:perf_hooks` exports, too.
 */
export const currentMs: () => number = performance.now.bind(performance);

/** When {@link currentMs} was 0, in milliseconds since 1970. */
export const { timeOrigin } = performance;
