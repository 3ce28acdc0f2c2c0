import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";

/** The most milliseconds that a Date takes, before 1970 and after it. */
const MOST_MS = 8.64e15;

/**
 * The milliseconds since 1970 of an event that anybody may have sent. containerd 2 passes on a timestamp that is no date;
 * it becomes the nearest one, since an event that failed here would come again, and fail again.
 */
export function eventMs(timestamp: Timestamp | undefined): number {
  const ms = timestamp === undefined ? 0 : timestampMs(timestamp);
  return Math.min(Math.max(ms, -MOST_MS), MOST_MS);
}
