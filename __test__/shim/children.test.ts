import { expect, test } from "vitest";
import { Script } from "../helpers/script.js";

/** Everything here is about a process's own children, so each test has a process of its own. */
const PRELUDE = `
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Children } from "./dist/shim/children.js";
const children = new Children();
// In a shim it is the server.
const running = setInterval(() => undefined, 1000);
/** Children that have not been reaped, running ones too. */
const left = () => readdirSync("/proc/self/task").flatMap((thread) => readFileSync(\`/proc/self/task/\${thread}/children\`, "utf8").split(" ").filter(Boolean));
const noneLeft = async () => { while (left().length > 0) await sleep(5); };
/** Starts a process and leaves it: what it says first is its pid. It begins when its parent, which may reap it, is gone. */
const orphan = async (script) => {
  const orphaned = "while kill -0 $0 2>/dev/null; do sleep 0.01; done; " + script;
  const parent = spawn("sh", ["-c", 'sh -c "$0" $$ & echo $!', orphaned], { stdio: ["ignore", "pipe", "inherit"] });
  const [[pid]] = await Promise.all([once(parent.stdout, "data"), once(parent, "exit")]);
  return Number(pid);
};
`;

test("an adopted process tells its exit code, or 128 and its signal", async () => {
  await using script = new Script(`${PRELUDE}
    const coded = await children.adopt(() => orphan("sleep 0.05; exit 7"));
    const killed = await children.adopt(() => orphan("exec sleep 100"));
    process.kill(killed.pid, "SIGKILL");
    const exits = await Promise.all([coded.exited, killed.exited]);
    say(JSON.stringify(exits.map(({ status }) => status)));
    say(String(exits.every(({ pid, exitedAt }, i) => pid === [coded, killed][i].pid && Date.now() - exitedAt < 60_000)));
    await noneLeft();
    clearInterval(running);
  `);
  expect(await script.rest()).toEqual(["[7,137]", "true"]);
});

test("a process that ended before it could be adopted tells it all the same", async () => {
  await using script = new Script(`${PRELUDE}
    const { exited } = await children.adopt(async () => {
      const pid = await orphan("exit 9");
      await noneLeft();
      return pid;
    });
    say(String((await exited).status));
    clearInterval(running);
  `);
  expect(await script.rest()).toEqual(["9"]);
});

test("hundreds of orphans are reaped, and every child of Node's own tells its end to Node", async () => {
  await using script = new Script(`${PRELUDE}
    const own = [];
    for (let round = 0; round < 20; round++) {
      // Thirty that nobody waits for, and ten that Node does, which end in between.
      const orphans = "for i in 1 2 3 4 5 6 7 8 9 10; do (exit 3) & (sleep 0.01; exit 4) & (sleep 0.02; exit 5) & done";
      own.push(once(spawn("sh", ["-c", orphans]), "exit").then(([code]) => code === 0));
      for (let code = 1; code < 10; code++) {
        own.push(once(spawn("sh", ["-c", \`sleep 0.0\${code}; exit \${code}\`]), "exit").then(([got]) => got === code));
      }
      await sleep(5);
    }
    const told = await Promise.all(own);
    await noneLeft();
    clearInterval(running);
    say(\`\${told.filter(Boolean).length} of \${told.length}\`);
  `);
  expect(await script.rest()).toEqual(["200 of 200"]);
});

test("a child that is waited for in place is not taken away", async () => {
  await using script = new Script(`${PRELUDE}
    const { spawnSync } = await import("node:child_process");
    spawn("sh", ["-c", "for i in 1 2 3 4 5 6 7 8; do (sleep 0.0$i; exit 3) & done"]);
    let right = 0;
    for (let i = 0; i < 40; i++) {
      if (spawnSync("sh", ["-c", \`exit \${i}\`]).status === i) right++;
      await sleep(1);
    }
    await noneLeft();
    clearInterval(running);
    say(String(right));
  `);
  expect(await script.rest()).toEqual(["40"]);
});

test("what fails to start is not adopted", async () => {
  await using script = new Script(`${PRELUDE}
    clearInterval(running);
    say(await children.adopt(async () => { throw new Error("no runtime"); }).catch(({ message }) => message));
  `);
  expect(await script.rest()).toEqual(["no runtime"]);
});
