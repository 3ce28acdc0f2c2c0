import * as fc from "fast-check";
import { expect, test } from "vitest";
// Slots wear out after a few calls, so what happens once in two billion calls happens all the time.
import { limitGenerations } from "../../../dist/native/slots.js";
import { KINDS, type Step, World } from "./names-world.js";

limitGenerations(2);

const client = fc.nat(1);
const pick = fc.nat(1000);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("call" as const), client, kind: fc.constantFrom(...KINDS) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("burst" as const),
      client,
      count: fc.integer({ min: 1, max: 12 }),
    }),
  },
  {
    weight: 9,
    arbitrary: fc.record({
      do: fc.constantFrom("release", "fail", "abort", "leave", "read", "break requests"),
      pick,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("refuse" as const),
      client,
      how: fc.constantFrom("name", "getter", "calling getter", "payload"),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("new method" as const), client }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("reconnect" as const), client }) },
);

test("whatever clients and handlers do, and however late, each call ends as the model says", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60, size: "max" }), async (steps) => {
      await using world = await World.start();
      for (const its of steps) await world.take(its);
      expect(await world.wrongOutcomes()).toEqual([]);
    }),
    { numRuns: 150, interruptAfterTimeLimit: 100_000, markInterruptAsFailure: true },
  );
}, 120_000);
