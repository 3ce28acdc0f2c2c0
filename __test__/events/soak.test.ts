import { expect, test } from "vitest";
import { run } from "../../soak/events/run.js";

test("a hundred thousand events of eight publishers arrive through a forwarder at a sink whose consumer stops for ten seconds", async () => {
  const { failures } = await run({ count: 100_000, publishers: 8, inFlight: 64, stopMs: 10_000 });
  expect(failures).toEqual([]);
}, 120_000);
