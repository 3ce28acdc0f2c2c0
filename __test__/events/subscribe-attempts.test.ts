import { once } from "node:events";
import { createServer, Socket } from "node:net";
import * as v8 from "node:v8";
import { expect, onTestFinished, test } from "vitest";
import type { SubscriptionPlan } from "../../src/events/subscribe-options.js";
import { envelopes } from "../../src/events/subscribe-stream.js";
import { temporaryPath } from "../helpers/temp.js";

/** Not in Node 20.12, nor in the types of this release. */
const { queryObjects } = v8 as unknown as {
  queryObjects?: (constructor: unknown, options: { format: "count" }) => number;
};

test.skipIf(queryObjects === undefined)(
  "an attempt to subscribe leaves nothing behind when it fails",
  async () => {
    const path = temporaryPath(".sock");
    const server = createServer((socket) =>
      socket
        .on("error", () => undefined)
        .resume()
        .end(),
    ).listen(path);
    onTestFinished(() => void server.close());
    await once(server, "listening");
    const plan = { address: "a", path, filters: [] } as unknown as SubscriptionPlan;
    const { signal } = new AbortController();
    const attempt = async () => {
      for await (const _ of envelopes(plan, signal, () => undefined)) throw new Error("an event came");
    };
    const count = () => queryObjects?.(Socket, { format: "count" }) ?? 0;
    await expect(attempt()).rejects.toThrow("a is not a gRPC server");
    const before = count();
    for (let attempts = 0; attempts < 100; attempts++) await attempt().catch(() => undefined);
    expect(count() - before).toBeLessThan(50);
  },
);
