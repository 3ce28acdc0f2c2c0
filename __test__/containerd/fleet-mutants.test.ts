import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createPublisher, TaskExitSchema } from "containerd-shim-protos/events";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Cut } from "./cut.js";
import { buildFleet, Collector, type Mutation } from "./fleet-collector.js";
import { proveOnce, publishShim } from "./fleet-proof.js";
import { hasNats, Nats } from "./nats.js";
import { REQUIRED } from "./requirements.js";

if (!hasNats && REQUIRED) throw new Error("this machine lacks nats-server");
const note = hasNats ? "" : " (skipped: needs nats-server)";

const SHIMS = 3;
/** Events of a shim between two faults. */
const PART = 20;
const WAIT = { timeout: 30_000, interval: 20 };

const STORED_LATER: Mutation = {
  file: "bridge.ts",
  text: "earlier = now.then((position) => this.#spool.markPublished(end, position));",
  by: "this.#spool.markPublished(end, this.#spool.position); earlier = now.then(() => undefined);",
};
const FORGETFUL: Mutation = {
  file: "collect.ts",
  text: "Spool.open(\n    options.spool,",
  by: 'Spool.open(\n    ":memory:",',
};
const PUBLISH =
  "return await client.publish(subject, envelope, { msgID: id, timeout: ACK_TIMEOUT_MS, retries: 1 });";
const TWICE: Mutation = {
  file: "bridge.ts",
  text: PUBLISH,
  by: "return client.publish(subject, envelope).then(() => client.publish(subject, envelope));",
};
const NAMELESS: Mutation = {
  file: "bridge.ts",
  text: PUBLISH,
  by: "return client.publish(subject, envelope, { timeout: ACK_TIMEOUT_MS, retries: 1 });",
};

/** Runs one collector through a lost request and a lost answer, both with a kill, and gives the stream to the proof. */
async function prove(folder: string, mutation?: Mutation): Promise<void> {
  const program = await buildFleet(
    join(import.meta.dirname, `../../target/fleet/${folder.split("/").at(-1)}.mjs`),
    mutation,
  );
  const nats = await Nats.start(join(folder, "nats"));
  const cut = await Cut.before(nats.url);
  const collector = new Collector(program, folder, "node-1", [
    "--listen",
    `unix://${join(folder, "node-1.sock")}`,
    "--nats",
    cut.url,
  ]);
  let sent = 0;
  /** Resolves when the collector has acknowledged a part of each shim. */
  const publish = async () => {
    const range = { from: sent, to: sent + PART };
    sent += PART;
    const all = Array.from({ length: SHIMS }, (_, shim) =>
      publishShim(collector.address, "host-0", shim, range),
    );
    await Promise.all(all);
  };
  const stored = (count: number) =>
    vi.waitFor(async () => expect(await nats.count("CONTAINERD")).toBeGreaterThanOrEqual(count), WAIT);
  try {
    await collector.start();
    await publish();
    await stored(SHIMS * PART);

    cut.losesRequests = true;
    await publish();
    await vi.waitFor(() => expect(cut.lost).toBeGreaterThan(0), WAIT);
    await collector.kill();
    cut.heal();
    await collector.start();
    await publish();

    // What the last part adds may be all that a broken collector stores.
    await ended(collector, nats, "first");
    const before = await nats.count("CONTAINERD");
    cut.losesAnswers = true;
    await publish();
    // No more than what the collector sends before it waits for an answer.
    await stored(before + 1);
    await collector.kill();
    cut.heal();
    await collector.start();
    await ended(collector, nats, "second");
    await proveOnce(nats.messages("CONTAINERD"), { shims: SHIMS, each: sent });
  } finally {
    await collector.kill();
    cut.close();
    await nats.kill();
    rmSync(program);
  }
}

/** Waits until an event of no shim has come through, so that no other is on its way. */
async function ended(collector: Collector, nats: Nats, id: string): Promise<void> {
  await using publisher = createPublisher(collector.address, {
    namespace: `end-${id}`,
    retryForMs: Number.POSITIVE_INFINITY,
  });
  await publisher.publish("/tasks/exit", TaskExitSchema, { id });
  await vi.waitFor(
    async () => expect(await nats.subjects("CONTAINERD")).toContain(`containerd.node-1.end-${id}.tasks.exit`),
    WAIT,
  );
}

describe.skipIf(!hasNats)(`the proof that a collector stores each event once${note}`, () => {
  let folder: string;
  let made = 0;
  const own = () => join(folder, `run-${made++}`);
  beforeAll(() => {
    folder = mkdtempSync("/tmp/shim-proof-");
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test("accepts the example", { timeout: 60_000 }, async () => {
    await expect(prove(own())).resolves.toBeUndefined();
  });

  test.each<[string, Mutation, RegExp]>([
    ["takes an event for published before JetStream has stored it", STORED_LATER, /event 20 is missing/],
    ["forgets its spool when it is killed", FORGETFUL, /event 20 is missing/],
    ["publishes each event twice, without an id", TWICE, /event \d+ is repeated/],
    ["publishes without an id what it does not know to be stored", NAMELESS, /event \d+ is repeated/],
  ])("refuses one that %s", { timeout: 60_000 }, async (_, mutation, text) => {
    await expect(prove(own(), mutation)).rejects.toThrow(text);
  });
});
