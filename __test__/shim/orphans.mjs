/** What the tests of a shim's children start and inspect. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/** Blocks this thread. */
export function busy(ms) {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

/** The children that have not been reaped, including running ones. */
function left() {
  return readdirSync("/proc/self/task").flatMap((thread) => {
    try {
      return readFileSync(`/proc/self/task/${thread}/children`, "utf8").split(" ").filter(Boolean);
    } catch {
      // The thread was a worker that has ended since.
      return [];
    }
  });
}

export async function noneLeft() {
  while (left().length > 0) await sleep(5);
}

/** Starts a process and leaves it. Resolves to its pid. The script begins once the parent, which could reap it, has gone. */
export async function orphan(script) {
  const orphaned = `while kill -0 $0 2>/dev/null; do sleep 0.01; done; ${script}`;
  const parent = spawn("sh", ["-c", 'sh -c "$0" $$ & echo $!', orphaned], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [[pid]] = await Promise.all([once(parent.stdout, "data"), once(parent, "exit")]);
  // The process that is left has the other end.
  parent.stdout.destroy();
  return Number(pid);
}
