/** A random mixture of children and orphans of the process, and a check of how each ended. */
import { execFile, fork, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { Children } from "../../dist/shim/children.js";
import { busy, noneLeft, orphan } from "./orphans.mjs";

const EXITS = fileURLToPath(new URL("exits.mjs", import.meta.url));

/** Numbers from 0 to below `limit`, the same for the same seed. */
function random(seed) {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

const IN_WORKER = `
const { spawn, spawnSync } = require("node:child_process");
const { parentPort, workerData } = require("node:worker_threads");
let wrong = 0, open = 0;
for (const [ms, code] of workerData) {
  if (ms === 0) wrong += spawnSync("sh", ["-c", "exit " + code]).status === code ? 0 : 1;
  open++;
  spawn("sh", ["-c", "sleep 0.0" + ms + "; exit " + code]).once("exit", (got) => {
    if (got !== code) wrong++;
    if (--open === 0) parentPort.postMessage(wrong);
  });
}
`;

/** Runs `rounds` of it and says what went wrong. */
export async function run(seed, rounds, say) {
  const below = random(seed);
  const children = new Children();
  const running = setInterval(() => undefined, 1000);
  const wrong = [];
  const pending = [];
  const expected = (what, got, wanted) => got === wanted || wrong.push(`${what}: ${got}, not ${wanted}`);
  const script = (code) => `sleep 0.0${below(4)}; exit ${code}`;

  /** Counts the exits that Node reports for a child. There must be one. */
  const own = (what, child, code) => {
    let told = 0;
    child.on("exit", (got) => {
      told++;
      expected(what, got, code);
    });
    return once(child, "close").then(() => expected(`${what} told`, told, 1));
  };
  const kinds = [
    (code) => own("spawn", spawn("sh", ["-c", script(code)], { stdio: "ignore" }), code),
    (code) =>
      own(
        "execFile",
        execFile("sh", ["-c", script(code)]).on("error", () => undefined),
        code,
      ),
    // It ends before the event loop turns.
    (code) => {
      const child = spawn("sh", ["-c", `exit ${code}`], { stdio: "ignore" });
      const told = own("fast", child, code);
      busy(below(15));
      return told;
    },
    async (code) => expected("spawnSync", spawnSync("sh", ["-c", script(code)]).status, code),
    // Orphans that nobody adopts.
    (code) => own("parent", spawn("sh", ["-c", `(${script(3)}) & (exit 4) & exit ${code}`]), code),
    async (code) => {
      const child = await children.adopt(() => orphan(script(code)));
      expected("adopted", (await child.exited).status, code);
    },
    async () => {
      const child = await children.adopt(() => orphan("exec sleep 100"));
      await sleep(below(20));
      expected("signal", child.kill("SIGTERM"), true);
      expected("killed", (await child.exited).status, 128 + constants.signals.SIGTERM);
    },
    // It ends, and is reaped, before its pid is known.
    async (code) => {
      const child = await children.adopt(async () => {
        const pid = await orphan(`exit ${code}`);
        await sleep(below(40));
        return pid;
      });
      expected("adopted late", (await child.exited).status, code);
    },
    async () => {
      const failure = await children.adopt(() => Promise.reject(new Error("no"))).catch((error) => error);
      expected("failed", failure.message, "no");
    },
    async () => {
      const workerData = Array.from({ length: 5 }, () => [below(4), below(100)]);
      const worker = new Worker(IN_WORKER, { eval: true, workerData, execArgv: [] });
      expected("worker", (await once(worker, "message"))[0], 0);
    },
    async (code) => {
      // It is slow to start.
      if (below(4) === 0) await own("fork", fork(EXITS, [String(code)], { execArgv: [] }), code);
    },
  ];

  for (let round = 0; round < rounds; round++) {
    for (let i = below(6); i >= 0; i--) pending.push(kinds[below(kinds.length)](below(100)));
    if (below(3) === 0) busy(below(40));
    await sleep(below(20));
  }
  await Promise.all(pending);
  await noneLeft();
  clearInterval(running);
  for (const line of wrong) say(line);
  if (wrong.length === 0) say("all told, none left");
}
