import { type Timestamp, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { TtrpcError } from "../../src/error.js";
import type { EventGap } from "containerd-shim-protos/events";
import { afterEach, expect, test, vi } from "vitest";
import type { SubscriptionPlan } from "../../src/events/subscribe-options.js";
import { SubscriptionQueue } from "../../src/events/subscribe-queue.js";
import type { Unpacked } from "../../src/events/unpacking.js";

const BEFORE = Date.UTC(2030, 0, 1, 13);
/** What the clock shows once it has been set back by an hour. */
const AFTER = Date.UTC(2030, 0, 1, 12);

afterEach(() => void vi.useRealTimers());

const clock = (ms: number) => vi.useFakeTimers({ toFake: ["Date"], now: ms });

const eventAt = (ms: number) => {
  const timestamp: Timestamp = timestampFromMs(ms);
  return { event: { timestamp }, isHeavy: false } as unknown as Unpacked;
};

function queueOf(plan: Partial<SubscriptionPlan>) {
  const gaps: EventGap[] = [];
  const queue = new SubscriptionQueue({
    whenFull: "dropOldest",
    maxQueuedEvents: 1,
    maxQueuedBytes: 1000,
    onGap: (gap: EventGap) => void gaps.push(gap),
    ...plan,
  } as SubscriptionPlan);
  return { queue, gaps };
}

test("behind a clock that was set back, a gap begins at the last event by the new time", () => {
  clock(BEFORE);
  const { queue } = queueOf({ maxQueuedEvents: 9 });
  void queue.push(eventAt(BEFORE), 1);
  clock(AFTER);
  expect(queue.reached).toBe(AFTER);
  clock(AFTER + 2000);
  void queue.push(eventAt(AFTER + 1000), 1);
  expect(queue.reached).toBe(AFTER + 1000);
  void queue.push(eventAt(AFTER + 500), 1);
  expect(queue.reached).toBe(AFTER + 1000);
});

test("of two gaps that became one, the earlier beginning counts, whichever came first", () => {
  clock(BEFORE);
  const { queue, gaps } = queueOf({});
  for (const ms of [BEFORE - 1000, BEFORE - 3000, BEFORE - 2000]) void queue.push(eventAt(ms), 1);
  queue.takeNow(9);
  expect(gaps.map(({ since, dropped }) => [since.getTime(), dropped])).toEqual([[BEFORE - 3000, 2]]);

  const lost = (ms: number) =>
    queue.markGap({ since: new Date(ms), dropped: 0, error: new TtrpcError("it was lost") });
  lost(BEFORE);
  lost(AFTER);
  queue.takeNow(9);
  expect(gaps[1]?.since.getTime()).toBe(AFTER);
});
