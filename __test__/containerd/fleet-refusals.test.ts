import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  DiscardPolicy,
  type JetStreamManager,
  jetstreamManager,
  type StreamConfig,
} from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { packAny } from "containerd-shim-protos";
import { TaskExitSchema } from "containerd-shim-protos/events";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Bridge } from "../../examples/fleet/bridge.js";
import { recordOf, shownOf } from "../../examples/fleet/record.js";
import { Spool } from "../../examples/fleet/spool.js";
import { hasNats, Nats } from "./nats.js";
import { REQUIRED } from "./requirements.js";

if (!hasNats && REQUIRED) throw new Error("this machine lacks nats-server");
const note = hasNats ? "" : " (skipped: needs nats-server)";
const WAIT = { timeout: 20_000, interval: 20 };

/** The record of an exit whose message has about `size` bytes. */
function exit(exitStatus: number, size = 10) {
  const any = packAny(TaskExitSchema, { containerId: "c".repeat(size), exitStatus });
  const timestamp = timestampFromMs(1_700_000_000_000 + exitStatus);
  return recordOf("node-1", {
    namespace: "default",
    topic: "/tasks/exit",
    timestamp,
    any,
    message: undefined,
  });
}

describe.skipIf(!hasNats)(`a stream that refuses an event and takes those behind it${note}`, () => {
  let folder: string;
  let nats: Nats;
  let connection: NatsConnection;
  let manager: JetStreamManager;
  beforeAll(async () => {
    folder = mkdtempSync("/tmp/shim-refusals-");
    nats = await Nats.start(join(folder, "nats"));
    connection = await nats.connect();
    manager = await jetstreamManager(connection);
  });
  afterAll(async () => {
    await connection?.close();
    await nats?.kill();
    rmSync(folder, { recursive: true, force: true });
  });

  /** A stream with these limits, and a spool that holds four exits, of which the stream refuses the second. */
  async function begun(name: string, limits: Partial<StreamConfig>) {
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    await manager.streams.delete("REFUSES").catch(() => false);
    await manager.streams.add({ name: "REFUSES", subjects: ["containerd.>"], ...limits });
    const spool = await Spool.open(join(folder, `${name}.db`));
    spool.append([exit(1, 500), exit(2, 900), exit(3), exit(4)]);
    return { spool, run: () => running(spool) };
  }

  function running(spool: Spool) {
    const bridge = new Bridge(spool, "node-1", { nats: nats.url, stream: "REFUSES" });
    const ended = bridge.run();
    return {
      stop: () => {
        bridge.stop();
        return ended;
      },
    };
  }

  async function statuses(): Promise<unknown[]> {
    const found: unknown[] = [];
    for await (const { data } of nats.messages("REFUSES"))
      found.push(shownOf("node-1", data).message["exitStatus"]);
    return found;
  }

  test("gets it, and nothing twice, when it has room, after a restart too", async () => {
    const { spool, run } = await begun("full", { discard: DiscardPolicy.New, max_bytes: 1500 });
    const first = run();
    await vi.waitFor(async () => expect(await statuses()).toEqual([1, 3, 4]), WAIT);
    await first.stop();
    expect(spool.status().unpublished).toBe(4);
    await manager.streams.update("REFUSES", { max_bytes: 1 << 20 });
    const second = run();
    await vi.waitFor(() => expect(spool.status().unpublished).toBe(0), WAIT);
    expect(await statuses()).toEqual([1, 3, 4, 2]);
    spool.append([exit(5)]);
    await second.stop();
    const third = run();
    await vi.waitFor(() => expect(spool.status().unpublished).toBe(0), WAIT);
    await third.stop();
    expect(await statuses()).toEqual([1, 3, 4, 2, 5]);
    spool.close();
  });

  test("does not hold up the others, if it never takes it", async () => {
    const { spool, run } = await begun("long", { max_msg_size: 800 });
    const bridge = run();
    await vi.waitFor(() => expect(spool.status().unpublished).toBe(0), WAIT);
    await bridge.stop();
    expect(await statuses()).toEqual([1, 3, 4]);
    expect(console.error).toHaveBeenCalledWith(expect.stringContaining("more than NATS takes"));
    spool.close();
  });

  test("gets what it lacks from a spool, when it was made anew", async () => {
    const { spool, run } = await begun("anew", {});
    const first = run();
    await vi.waitFor(() => expect(spool.status().unpublished).toBe(0), WAIT);
    await first.stop();
    await manager.streams.delete("REFUSES");
    spool.append([exit(5)]);
    const second = run();
    await vi.waitFor(() => expect(spool.status().unpublished).toBe(0), WAIT);
    await second.stop();
    expect(await statuses()).toEqual([5]);
    spool.append([exit(6)]);
    const third = run();
    await vi.waitFor(() => expect(spool.status().unpublished).toBe(0), WAIT);
    await third.stop();
    expect(await statuses()).toEqual([5, 6]);
    spool.close();
  });
});
