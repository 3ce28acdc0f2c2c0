import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { Script } from "../helpers/script.js";

/** The tests are about a process's children, so each runs in a process of its own. */
const PRELUDE = `
import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Children } from "./dist/shim/children.js";
import { busy, noneLeft, orphan } from "./__test__/shim/orphans.mjs";
const children = new Children();
// In a shim, the server keeps the process running.
const running = setInterval(() => undefined, 1000);
`;

test("an adopted process reports its exit code, or 128 plus its signal", async () => {
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

test("a process that ended and was reaped long before it could be adopted still reports its exit code", async () => {
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

test("hundreds of orphans are reaped, and Node hears of the end of each of its own children", async () => {
  await using script = new Script(`${PRELUDE}
    const own = [];
    for (let round = 0; round < 20; round++) {
      // Thirty for which nobody waits, and ten of Node's that end in between.
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

test("a child that spawnSync waits for is not reaped", async () => {
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

test("a process that fails to start is not adopted", async () => {
  await using script = new Script(`${PRELUDE}
    clearInterval(running);
    say(await children.adopt(async () => { throw new Error("no runtime"); }).catch(({ message }) => message));
    say(await children.adopt(7).catch(String));
  `);
  expect(await script.rest()).toEqual(["no runtime", "TypeError: start must be a function, not number"]);
});

test("a child of Node is not reaped, whatever else ended before it", async () => {
  await using script = new Script(`${PRELUDE}
    let told = 0;
    for (let i = 0; i < 12; i++) {
      const adopted = [await children.adopt(() => orphan("sleep 0.01")), await children.adopt(() => orphan("sleep 0.02"))];
      // The signals of both are pending, and libuv has no child of Node left to check.
      await sleep(5);
      busy(60);
      const own = spawn("true", { stdio: "ignore" });
      const exit = once(own, "exit");
      busy(20);
      if ((await Promise.race([exit, sleep(5000, ["lost"])]))[0] === 0) told++;
      await Promise.all(adopted.map(({ exited }) => exited));
    }
    clearInterval(running);
    say(String(told));
  `);
  expect(await script.rest()).toEqual(["12"]);
});

test("a process that is adopted twice reports to both", async () => {
  await using script = new Script(`${PRELUDE}
    const pid = await orphan("sleep 0.1; exit 6");
    const both = await Promise.all([children.adopt(async () => pid), children.adopt(async () => pid)]);
    say(JSON.stringify((await Promise.all(both.map(({ exited }) => exited))).map(({ status }) => status)));
    clearInterval(running);
  `);
  expect(await script.rest()).toEqual(["[6,6]"]);
});

test("a process that its own parent reaps reports that its status is unknown", async () => {
  await using script = new Script(`${PRELUDE}
    const parent = spawn("sh", ["-c", "sleep 100 & echo $!; wait $!; echo gone; read line"], { stdio: ["pipe", "pipe", "ignore"] });
    const pid = Number((await once(parent.stdout, "data"))[0]);
    const child = await children.adopt(async () => pid);
    say(String(child.kill("SIGKILL")));
    await once(parent.stdout, "data");
    say(String(child.kill("SIGKILL")));
    parent.stdin.end();
    say(String((await child.exited).status));
    clearInterval(running);
  `);
  expect(await script.rest()).toEqual(["true", "false", "255"]);
});

test("a signal reaches an adopted process until it has ended", async () => {
  await using script = new Script(`${PRELUDE}
    const child = await children.adopt(() => orphan("exec sleep 100"));
    say(String(child.kill(0)));
    say(String(child.kill()));
    say(String((await child.exited).status));
    say(String(child.kill()));
    clearInterval(running);
  `);
  expect(await script.rest()).toEqual(["true", "true", "143", "false"]);
});

test("a pid that is invalid, unused or of Node's own child is not adopted", async () => {
  await using script = new Script(`${PRELUDE}
    const refused = async (pid) => {
      const error = await children.adopt(async () => pid).catch((error) => error);
      say(\`\${error.name} \${error.code}: \${error.message.replace(/\\d{2,}/, "N")}\`);
    };
    for (const pid of [Number.NaN, 0, -1, 1.5, undefined, process.pid]) await refused(pid);
    await refused(2 ** 31 - 1);
    const own = spawn("cat");
    await refused(own.pid);
    const exit = once(own, "exit");
    own.kill("SIGKILL");
    say((await exit)[1]);
    const { Worker } = await import("node:worker_threads");
    const worker = new Worker(\`
      const own = require("node:child_process").spawn("cat");
      own.once("exit", (code, signal) => require("node:worker_threads").parentPort.postMessage(signal));
      require("node:worker_threads").parentPort.postMessage(own.pid);
    \`, { eval: true, execArgv: [] });
    const [theirs] = await once(worker, "message");
    await refused(theirs);
    process.kill(theirs, "SIGKILL");
    say((await once(worker, "message"))[0]);
    clearInterval(running);
  `);
  expect(await script.rest()).toEqual([
    ...["NaN", "0", "-1", "1.5", "undefined", "N"].map(
      (pid) => `TypeError undefined: start must resolve to the pid of a process, not to ${pid}`,
    ),
    "Error ESRCH: there is no process N to adopt",
    "TypeError undefined: process N was started by Node, which reports how it ends",
    "SIGKILL",
    "TypeError undefined: process N was started by Node, which reports how it ends",
    "SIGKILL",
  ]);
});

test("a child that was declared to be another's is left to it", async () => {
  // The orphan stands in for a process that an addon forked: Node started neither of them.
  await using script = new Script(`${PRELUDE}
    const { readFileSync } = await import("node:fs");
    const state = (pid) => readFileSync(\`/proc/\${pid}/stat\`, "latin1").replace(/.*\\) /, "")[0];
    const pid = await orphan("sleep 0.05; exit 8");
    children.leave(pid);
    while (state(pid) !== "Z") await sleep(5);
    // Other children end meanwhile.
    await once(spawn("true"), "exit");
    const { status } = await (await children.adopt(() => orphan("exit 2"))).exited;
    say(\`\${status} \${state(pid)}\`);
    for (const none of [1, 0, Number.NaN]) {
      try { children.leave(none) } catch (error) { say(\`\${error.name}: \${error.message}\`) }
    }
    clearInterval(running);
  `);
  const refusal = (pid: string) => `TypeError: ${pid} is not the pid of a child of this process`;
  expect(await script.rest()).toEqual(["2 Z", refusal("1"), refusal("0"), refusal("NaN")]);
});

test("orphans that end while there is always an adoption under way are still reaped", async () => {
  await using script = new Script(`${PRELUDE}
    let over = false;
    // An adoption is under way at every moment.
    const adopting = async () => { while (!over) await (await children.adopt(() => orphan("exit 1"))).exited; };
    const all = [adopting(), adopting(), adopting()];
    const pids = [];
    for (let i = 0; i < 20; i++) pids.push(await orphan("exit 3"));
    const { existsSync } = await import("node:fs");
    while (pids.some((pid) => existsSync(\`/proc/\${pid}\`))) await sleep(5);
    over = true;
    await Promise.all(all);
    await noneLeft();
    clearInterval(running);
    say("none left");
  `);
  expect(await script.rest()).toEqual(["none left"]);
});

test.each([1, 2, 3])("each process of a random mixture reports its own end once (seed %i)", async (seed) => {
  await using script = new Script(
    `await (await import("./__test__/shim/orphans-load.mjs")).run(${seed}, 40, say);`,
  );
  expect(await script.rest()).toEqual(["all told, none left"]);
});

/** Runs a script as the first process of a pid namespace, where it can choose the next pid. */
function inNamespace(source: string): Script {
  const inner = `const say = (line) => process.stdout.write(line + "\\n");
    ${PRELUDE}
    const { writeFileSync } = await import("node:fs");
    const next = (pid) => writeFileSync("/proc/sys/kernel/ns_last_pid", String(pid - 1));
    ${source}
    clearInterval(running);`;
  return new Script(`
    const { spawnSync } = await import("node:child_process");
    const node = [process.execPath, "--input-type=module", "-e", ${JSON.stringify(inner)}];
    const { status } = spawnSync("unshare", [${UNSHARE.map((arg) => JSON.stringify(arg)).join()}, ...node], { stdio: "inherit" });
    process.exitCode = status ?? 1;
  `);
}

const UNSHARE = ["--pid", "--fork", "--mount-proc", "--kill-child"];
const choosesPids =
  spawnSync("unshare", [...UNSHARE, "sh", "-c", "echo 100 > /proc/sys/kernel/ns_last_pid"]).status === 0;

describe.skipIf(!choosesPids)(`a reused pid${choosesPids ? "" : " (skipped: needs root)"}`, () => {
  test("is not mistaken for that of a process that ended while it was being adopted", async () => {
    await using script = inNamespace(`
      const { exited } = await children.adopt(async () => {
        const pid = await orphan("exit 3");
        await sleep(50);
        for (let i = 0; i < 3; i++) {
          // First for its parent, then for itself.
          next(pid - 1);
          await orphan("exit 4");
          await sleep(50);
        }
        return pid;
      });
      say(String((await exited).status));
    `);
    expect(await script.rest()).toEqual(["3"]);
  });

  test("is left to Node when another parent reaped the process that had it", async () => {
    await using script = inNamespace(`
      const parent = spawn("sh", ["-c", "sleep 100 & echo $!; wait $!; echo gone; read line"], { stdio: ["pipe", "pipe", "ignore"] });
      const pid = Number((await once(parent.stdout, "data"))[0]);
      const child = await children.adopt(async () => pid);
      process.kill(pid, "SIGKILL");
      await once(parent.stdout, "data");
      next(pid);
      const own = spawn("sh", ["-c", "exit 5"]);
      say(String(own.pid === pid));
      busy(50);
      say(JSON.stringify([(await once(own, "exit"))[0], (await child.exited).status, child.kill()]));
      parent.kill("SIGKILL");
    `);
    expect(await script.rest()).toEqual(["true", "[5,255,false]"]);
  });
});

test("a process that ends while no descriptor is left is reported once there is one", async () => {
  await using script = new Script(
    `${PRELUDE}
    import { closeSync, openSync } from "node:fs";
    const child = await children.adopt(() => orphan("exec sleep 100"));
    void child.exited.then(({ status }) => say(String(status)));
    const open = [];
    // Those of the process that was started are closed a little later.
    for (let more = true; more; await sleep(20)) {
      more = false;
      try {
        for (;; more = true) open.push(openSync("/dev/null"));
      } catch {}
    }
    process.removeAllListeners("warning");
    process.once("warning", ({ message }) => {
      say(message);
      open.forEach((fd) => closeSync(fd));
    });
    child.kill("SIGKILL");`,
    "",
    { maxFiles: 64 },
  );
  expect(await script.nextLine()).toBe("ended processes cannot be looked at: waitid: EMFILE");
  expect(await script.nextLine()).toBe("137");
});
