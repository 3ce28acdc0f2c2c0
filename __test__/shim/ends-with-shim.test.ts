import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test, vi } from "vitest";
import { Script } from "../helpers/script.js";

const PRELUDE = `
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { runProcess, startProcess } from "./dist/shim/process.js";
const running = setInterval(() => undefined, 1000);
const endsWithShim = true;
`;

/** Whether a process has not ended. Whoever inherits it may not reap it. */
function isThere(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
}

async function ended(pid: number): Promise<void> {
  while (isThere(pid)) await sleep(10);
}

const childrenOf = (pid: number) =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);

async function pids(script: Script): Promise<number[]> {
  return ((await script.nextLine()) ?? "").split(" ").map(Number);
}

describe("what is to end with a shim", () => {
  test.each(["SIGKILL", "SIGTERM"] as const)(
    "is killed when the shim ends by %s, and nothing else is",
    async (signal) => {
      await using script = new Script(`${PRELUDE}
        const { pid } = await startProcess("/bin/sleep", ["100"], { endsWithShim });
        const stays = await startProcess("/bin/sleep", ["100"], { endsWithShim: false });
        void runProcess("/bin/sh", ["-c", "sleep 100 & wait"], { endsWithShim });
        say(pid + " " + stays.pid);
      `);
      const [started, stays] = (await pids(script)) as [number, number];
      const ran = childrenOf(script.pid).find((pid) => ![started, stays].includes(pid))!;
      // The shell's own child is not what the shim has started.
      const child = await vi.waitUntil(() => childrenOf(ran)[0]);
      const all = [started, ran, stays, child];
      expect(all.map(isThere)).toEqual([true, true, true, true]);
      process.kill(script.pid, signal);
      await Promise.all(all.slice(0, 2).map(ended));
      expect(all.map(isThere)).toEqual([false, false, true, true]);
      for (const pid of all.slice(2)) process.kill(pid, "SIGKILL");
    },
  );

  test("is killed with the worker that has started it, and with no other", async () => {
    await using script = new Script(`${PRELUDE}
      const main = await startProcess("/bin/sleep", ["100"], { endsWithShim });
      const worker = new Worker(\`
        import { parentPort } from "node:worker_threads";
        import { startProcess } from "\${new URL("dist/shim/process.js", "file://" + process.cwd() + "/")}";
        const { pid } = await startProcess("/bin/sleep", ["100"], { endsWithShim: true });
        parentPort.postMessage(pid);
        setInterval(() => undefined, 1000);
      \`, { eval: true });
      const [pid] = await once(worker, "message");
      await worker.terminate();
      say(main.pid + " " + pid);
    `);
    const [ofMain, ofWorker] = (await pids(script)) as [number, number];
    await ended(ofWorker);
    expect(isThere(ofMain)).toBe(true);
    await script.kill();
    await ended(ofMain);
  });
});
