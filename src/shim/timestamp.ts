import type { Timestamp } from "@bufbuild/protobuf/wkt";

/**
 * A time as messages have it, such as when a process exited: seconds since 1970, and nanoseconds. It gives what
 * protobuf-es's function of the same name gives. That one loads all well-known types, which costs each shim a tenth of its
 * memory.
 *
 * ```ts
 * const exit = { exitStatus: 0, exitedAt: timestampFromDate(new Date()) };
 * ```
 *
 * @param date - The time. Throws a `RangeError` if it is an invalid date.
 */
export function timestampFromDate(date: Date): Timestamp {
  const ms = date.getTime();
  const seconds = Math.floor(ms / 1000);
  return {
    $typeName: "google.protobuf.Timestamp",
    seconds: BigInt(seconds),
    nanos: (ms - seconds * 1000) * 1_000_000,
  };
}
