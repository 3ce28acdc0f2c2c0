import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, renameSync } from "node:fs";
import { createServer as createNetServer } from "node:net";
import { fileURLToPath } from "node:url";
import { connect } from "containerd-shim-protos";
import { afterAll, beforeAll, expect, test } from "vitest";
import { text } from "../helpers/outcome.js";
import { pathOf, temporaryAddress } from "../helpers/temp.js";

const RACER = fileURLToPath(new URL("../helpers/racer.mjs", import.meta.url));
const ROUNDS = 80;

let racers: ChildProcess[] = [];

beforeAll(async () => {
  racers = [1, 2, 3].map(() => fork(RACER, { execArgv: [] }));
  await Promise.all(racers.map((racer) => once(racer, "message")));
});

afterAll(() => {
  for (const racer of racers) racer.kill("SIGKILL");
});

async function ask(racer: ChildProcess, message: object): Promise<string> {
  racer.send(message);
  const [answer] = (await once(racer, "message")) as [string];
  return answer;
}

/** A moment that all processes share, late enough for a message to arrive before it. */
const soon = () => performance.timeOrigin + performance.now() + 4;

/** Makes all listen at one moment. Returns the one that listens, and what the others say. */
async function race(address: string, among: ChildProcess[]) {
  const at = soon();
  const said = await Promise.all(among.map((racer) => ask(racer, { address, at })));
  const [winner] = among.splice(said.indexOf("listens"), 1);
  if (winner === undefined) throw new Error(`nobody listens: ${said.join()}`);
  await isThere(address, winner);
  return { winner, others: said.toSpliced(said.indexOf("listens"), 1) };
}

async function isThere(address: string, racer: ChildProcess): Promise<void> {
  await using connection = await connect(address);
  expect(text(await connection.unary("a.B", "C", new Uint8Array()))).toBe(String(racer.pid));
}

/** Puts a closed socket's file at an address. */
async function leaveStale(address: string): Promise<void> {
  const server = createNetServer();
  await once(server.listen(`${pathOf(address)}.x`), "listening");
  renameSync(`${pathOf(address)}.x`, pathOf(address));
  server.close();
  await once(server, "close");
}

const IN_USE = ["EADDRINUSE", "EADDRINUSE"];

test("of several servers that listen at the same moment, exactly one succeeds", async () => {
  const address = temporaryAddress();
  for (let round = 0; round < ROUNDS; round++) {
    const { winner, others } = await race(address, [...racers]);
    expect(others).toEqual(IN_USE);
    await ask(winner, { at: 0 });
    expect(existsSync(pathOf(address))).toBe(false);
  }
}, 60_000);

test("of several servers that reclaim a stale file at the same moment, exactly one succeeds", async () => {
  const address = temporaryAddress();
  for (let round = 0; round < ROUNDS; round++) {
    await leaveStale(address);
    const { winner, others } = await race(address, [...racers]);
    expect(others).toEqual(IN_USE);
    await ask(winner, { at: 0 });
  }
}, 60_000);

test("a server that closes leaves its successor's file, whenever the successor listens", async () => {
  const address = temporaryAddress();
  let { winner } = await race(address, [...racers]);
  for (let round = 0; round < ROUNDS; round++) {
    const others = racers.filter((racer) => racer !== winner);
    const at = soon();
    const [said] = await Promise.all([
      Promise.all(others.map((racer) => ask(racer, { address, at: at + (round % 3) - 1 }))),
      ask(winner, { at }),
    ]);
    expect(said.filter((one) => one !== "EADDRINUSE").length).toBeLessThan(2);
    const next = others[said.indexOf("listens")];
    if (next === undefined) winner = (await race(address, [...racers])).winner;
    else await isThere(address, (winner = next));
  }
  await ask(winner, { at: 0 });
}, 60_000);
