import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { bytes, text } from "../helpers/outcome.js";
import { ROOT } from "../helpers/program.js";
import { pathOf, temporaryAddress } from "../helpers/temp.js";
import { type Attack, attacks } from "./attacks.js";
import { Process } from "./process.js";
import { rows } from "./rows.js";

const KIB = 1024;
const MIB = 1024 * KIB;

/** The bytes that each connection may hold besides the limits. */
const A_CONNECTION = 64 * KIB;

/**
 * What a process needs to handle the largest messages one by one, each of which exists three times for a moment, and what
 * its allocator and V8 keep for a moment after a free. It does not depend on how much is sent.
 */
const WORKING_MEMORY = 96 * MIB;

/** Ten processes at once are slow on two cores. */
const PATIENCE_MS = 90_000;

/** The bytes that may be in flight from JavaScript to the thread. */
const ON_ITS_WAY = { loop: 0, thread: 64 * MIB };

interface State {
  readonly started: number;
  readonly received: number;
  readonly external: number;
  readonly heapUsed: number;
}

/** The effect of an attack on a server: how many bytes it grew by, and whether others were served. */
async function suffer(name: string, attack: Attack, driver: string) {
  const address = temporaryAddress();
  await using server = new Process("server.ts", driver, attack.onSink ? "sink" : "server", pathOf(address));
  expect(await server.line()).toBe("ready");
  const state = async (line: string) => JSON.parse(await server.ask(line)) as State;
  const servesGood = async () => {
    await using connection = await connect(address);
    const reply = await connection.unary("test.Hostile", "Echo", bytes("good"), { timeoutMs: 8000 });
    return text(reply) === "good";
  };
  const takesAll = async () => (await state(`take ${attack.connections}`)).received === attack.connections;
  const goesOn = attack.onSink ? takesAll : servesGood;

  await (attack.onSink ? undefined : servesGood());
  await using client = new Process("client.ts", name, pathOf(address));
  expect(await client.line()).toBe("connected");
  const before = await state("state");
  server.takePeak();
  await sleep(50);
  const idle = server.takePeak();

  expect(await client.ask("go")).toBe("done");
  await server.settled();
  const after = await state("state");
  await sleep(400);
  const resident = server.takePeak() - idle;
  await sleep(attack.lasts ?? 0);
  // The hostile client is still there.
  return { resident, external: after.external - before.external, served: await goesOn() };
}

describe.each(["loop", "thread"] as const)('with driver: "%s"', (driver) => {
  for (const { what, bytes: limit = 0, garbage = 0, attacks: names = [] } of rows) {
    if (names.length === 0) continue;
    describe.concurrent(`memory for ${what} stays within its limit with a client that`, () => {
      for (const name of names) {
        const attack: Attack = attacks[name];
        test(
          `${attack.what}, and a good client is served`,
          async () => {
            const { resident, external, served } = await suffer(name, attack, driver);
            const stated = limit + attack.connections * A_CONNECTION + ON_ITS_WAY[driver];
            const most = stated + WORKING_MEMORY + garbage;
            expect(served).toBe(true);
            expect(resident).toBeLessThan(most);
            expect(external).toBeLessThan(most);
          },
          PATIENCE_MS,
        );
      }
    });
  }
});

describe("the table of memory bounds in docs/design.md", () => {
  const source = readFileSync(join(ROOT, "docs/design.md"), "utf8");
  const table = source.split("## What bounds memory")[1]?.split("\n## ")[0] ?? "";

  test("states the limits of these tests", () => {
    const lines = table
      .split("\n")
      .filter((line) => line.startsWith("|"))
      .slice(2);
    const cells = lines.map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
    expect(cells).toEqual(rows.map(({ what, limit, beyond }) => [what, limit, beyond]));
  });

  test.each(rows.filter(({ shown }) => shown !== undefined))("has a test for $what", ({ shown }) => {
    const [file = "", name = ""] = shown ?? [];
    expect(readFileSync(join(ROOT, file), "utf8")).toContain(name);
  });

  test("is tested row by row", () => {
    for (const { attacks: names = [], shown } of rows)
      expect(names.length > 0 || shown !== undefined).toBe(true);
    const tried = rows.flatMap(({ attacks: names = [] }) => names);
    expect(tried.toSorted()).toEqual(Object.keys(attacks).toSorted());
  });
});
