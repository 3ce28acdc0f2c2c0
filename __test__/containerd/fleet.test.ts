import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createPublisher, TaskExitSchema, TaskOOMSchema } from "containerd-shim-protos/events";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Shown } from "../../examples/fleet/record.js";
import { Spool } from "../../examples/fleet/spool.js";
import { Containerd } from "./containerd.js";
import { buildFleet, Collector } from "./fleet-collector.js";
import { proveOnce, publishShim } from "./fleet-proof.js";
import { hasNats, Nats } from "./nats.js";
import { describeWith, releaseOf } from "./releases.js";
import { REQUIRED } from "./requirements.js";

const RELEASE = releaseOf("FLEET_CONTAINERD");
/** How many events the faults are tried with. */
const EVENTS = Number(process.env["FLEET_EVENTS"] ?? 10_000);
const HOSTS = ["node-1", "node-2", "node.3"];
/** Shims of a host, which each publish one event after the other. */
const SHIMS = Number(process.env["FLEET_SHIMS"] ?? 24);
/** The longest pause between two faults. */
const PAUSE_MS = Number(process.env["FLEET_PAUSE_MS"] ?? 1000);
const MAX_SPOOL = 16 << 20;
const MAX_RSS = 400 << 20;
const MAIN = join(import.meta.dirname, "../../target/fleet/main.mjs");
const WAIT = { timeout: 120_000, interval: 100 };

if (!hasNats && REQUIRED) throw new Error("this machine lacks nats-server");
const note = hasNats ? "" : " (skipped: needs nats-server)";

/** What a command of the example prints until it has printed a text, or until it ends. */
async function printed(args: string[], until: string): Promise<string> {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  for await (const chunk of child.stdout.setEncoding("utf8")) {
    output += chunk as string;
    if (until !== "" && output.includes(until)) break;
  }
  child.kill("SIGKILL");
  return output;
}

describe.skipIf(!hasNats)(`a fleet of three hosts${note}`, () => {
  describeWith(RELEASE, `with faults everywhere, ${RELEASE.name}`, () => {
    const folder = mkdtempSync("/tmp/shim-fleet-");
    let containerd: Containerd;
    let nats: Nats;
    let collectors: Collector[];

    beforeAll(async () => {
      await buildFleet(MAIN);
      containerd = await Containerd.start({ release: RELEASE });
      nats = await Nats.start(join(folder, "nats"));
      collectors = HOSTS.map((host) => {
        const listen = join(folder, `${host}.sock`);
        const args = ["--listen", `unix://${listen}`, "--containerd", containerd.eventsAddress];
        return new Collector(MAIN, folder, host, [
          ...args,
          "--nats",
          nats.url,
          "--max-bytes",
          String(MAX_SPOOL),
        ]);
      });
      for (const collector of collectors) await collector.start();
    });

    afterAll(async () => {
      for (const collector of collectors ?? []) await collector.kill();
      await nats?.kill();
      await containerd?.stop();
      rmSync(folder, { recursive: true, force: true });
    });

    test("shows the events of all hosts, from NATS, and of one host, from its spool", async () => {
      await using publisher = createPublisher(collectors[0]!.address, { namespace: "shown" });
      const event = { containerId: "web", id: "web", exitStatus: 137, pid: 7 };
      await publisher.publish("/tasks/exit", TaskExitSchema, event);
      await publisher.publish("/tasks/oom", TaskOOMSchema, { containerId: "web" });
      const shown = ["--nats", nats.url, "--since", "1h", "--namespace", "shown"];
      const json = await printed(["watch", ...shown, "--topic", "/tasks/exit", "--json"], "}\n");
      expect(JSON.parse(json)).toMatchObject({ host: HOSTS[0], namespace: "shown", message: event });
      const lines = await printed(["watch", ...shown, "--host", "node-1", "--lines"], "memory");
      expect(lines).toMatch(/! \S+ node-1 shown \/tasks\/exit node-1 shown\/web ended with 137/);
      expect(lines).toContain("! ");
      const table = await printed(["watch", ...shown], "out of memory");
      expect(table).toMatch(/node-1.*shown.*web.*137/);
      const query = [
        "query",
        "--spool",
        collectors[0]!.spool,
        "--container",
        "web",
        "--topic",
        "/tasks/exit",
      ];
      expect(JSON.parse(await printed(query, "}\n"))).toMatchObject({ message: event });
    });

    test("collects what containerd itself does, on one host without NATS, with a gap for its restart", async () => {
      const spool = join(folder, "alone.db");
      const alone = new Collector(
        MAIN,
        folder,
        "alone",
        ["--subscribe", `${containerd.folder}/c.sock`],
        spool,
      );
      await alone.start();
      const seen = async (...query: string[]) => printed(["query", "--spool", spool, ...query], "");
      await using publisher = createPublisher(containerd.eventsAddress, { namespace: "shown" });
      const publishUntilSeen = (containerId: string) =>
        vi.waitFor(async () => {
          await publisher.publish("/tasks/exit", TaskExitSchema, { containerId });
          expect(await seen("--container", containerId)).toContain("/tasks/exit");
        }, WAIT);
      await publishUntilSeen("first");
      await containerd.kill();
      await containerd.restart();
      await publishUntilSeen("second");
      const all = (await seen())
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as Shown);
      const order = all.map(({ topic, message }) =>
        topic === "/fleet/gap" ? "gap" : message["containerId"],
      );
      expect(order.filter((one, index) => one !== order[index - 1])).toEqual([
        "gap",
        "first",
        "gap",
        "second",
      ]);
      await alone.kill();
    });

    test.each([EVENTS])(
      "stores each of %d events once, in order per container, while collectors, NATS and containerd are killed",
      async (events) => {
        const each = Math.ceil(events / HOSTS.length / SHIMS);
        const before = await nats.count("CONTAINERD");
        let acknowledged = 0;
        const shims = collectors.flatMap(({ address }, host) =>
          Array.from({ length: SHIMS }, (_, shim) =>
            publishShim(address, `host-${host}`, shim, { to: each }, () => acknowledged++),
          ),
        );
        const over = new AbortController();
        const done = Promise.all(shims).finally(() => over.abort());
        let kills = 0;
        const faults = (async () => {
          while (!over.signal.aborted) {
            await sleep(300 + Math.random() * (PAUSE_MS - 300));
            const victim = Math.floor(Math.random() * (HOSTS.length + 2));
            const collector = collectors[victim];
            if (collector !== undefined) {
              await collector.kill();
              await collector.start();
            } else if (victim === HOSTS.length) {
              await nats.kill();
              await sleep(Math.random() * 500);
              await nats.restart();
            } else {
              await containerd.kill();
              await containerd.restart();
            }
            kills++;
          }
        })();
        await Promise.all([done, faults]);
        const total = each * HOSTS.length * SHIMS;
        expect(acknowledged).toBe(total);
        expect(kills).toBeGreaterThan(0);
        await vi.waitFor(
          async () => expect(await nats.count("CONTAINERD")).toBeGreaterThanOrEqual(before + total),
          WAIT,
        );

        await proveOnce(nats.messages("CONTAINERD"), { shims: HOSTS.length * SHIMS, each });
        for (const collector of collectors) {
          expect(collector.mostMemory()).toBeLessThan(MAX_RSS);
          expect(statSync(collector.spool).size).toBeLessThan(MAX_SPOOL + (2 << 20));
        }
        console.log(
          `${RELEASE.name}: ${total} events, ${kills} kills, most memory ${Math.max(...collectors.map((c) => c.mostMemory())) >> 20} MiB`,
        );
      },
      Math.max(180_000, EVENTS * 3),
    );
  });
});

describe("a spool", () => {
  const folder = mkdtempSync("/tmp/shim-spool-");
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const record = (number: number) => ({
    id: `id-${number}`,
    namespace: "default",
    topic: "/tasks/exit",
    atMs: number,
    container: "web",
    envelope: new Uint8Array(1000),
  });

  test("keeps within its bytes: published events make room, unpublished ones refuse newer ones", async () => {
    const spool = await Spool.open(join(folder, "wait.db"), 1 << 20, "wait");
    let number = 0;
    const fill = () => {
      while (spool.append(Array.from({ length: 100 }, () => record(number++)))) if (number > 10_000) break;
    };
    fill();
    const full = spool.status();
    expect(full.bytes).toBeLessThan((1 << 20) + 200_000);
    expect(full.unpublished).toBe(full.events);
    spool.markPublished(full.events, 0);
    const refused = number;
    fill();
    expect(number).toBeGreaterThan(refused);
    expect(spool.status()).toMatchObject({ dropped: 0 });
    expect(spool.status().bytes).toBeLessThan((1 << 20) + 200_000);
    spool.close();
  });

  test("drops the oldest and counts them, with that rule, and knows an event that it has", async () => {
    const spool = await Spool.open(join(folder, "drop.db"), 1 << 20, "drop");
    for (let number = 0; number < 5000; number += 100)
      expect(spool.append(Array.from({ length: 100 }, (_, index) => record(number + index)))).toBe(true);
    const { events, dropped } = spool.status();
    expect(events + dropped).toBe(5000);
    expect(dropped).toBeGreaterThan(3000);
    expect(spool.query({ limit: 1, topic: "/tasks/", container: "web" })).toMatchObject([{ id: "id-4999" }]);
    spool.append([record(4999)]);
    expect(spool.status().events).toBe(events);
    spool.close();
  });
});
