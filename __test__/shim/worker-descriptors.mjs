// Workers that are terminated while they hold descriptors of everything that has some. Prints the kinds of descriptors, such
// as pipes, sockets and files, of which more stay open than after the first.
import { readdirSync, readlinkSync } from "node:fs";
import { once } from "node:events";
import { Duplex } from "node:stream";
import { setTimeout } from "node:timers/promises";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { connect } from "containerd-shim-protos";
import { listenConsole, openStdio } from "containerd-shim-protos/shim/io";
import { runProcess } from "containerd-shim-protos/shim/process";

/** How many descriptors of each kind are open. */
function open() {
  const kinds = {};
  for (const fd of readdirSync("/proc/self/fd")) {
    try {
      const kind = readlinkSync(`/proc/self/fd/${fd}`).replace(/:\[\d+\]$/, "");
      kinds[kind] = (kinds[kind] ?? 0) + 1;
    } catch {
      // The one that reads the folder.
    }
  }
  return kinds;
}

async function one(data) {
  const worker = new Worker(new URL(import.meta.url), { workerData: data });
  await once(worker, "message");
  await worker.terminate();
}

if (isMainThread) {
  const data = JSON.parse(process.argv[2] ?? "");
  await one(data);
  const before = open();
  for (let round = 0; round < 10; round++) await one(data);
  const more = () => Object.entries(open()).filter(([kind, count]) => count > (before[kind] ?? 0));
  // Nobody waits for the thread of a file, which closes it.
  for (let look = 0; look < 500 && more().length > 0; look++) await setTimeout(10);
  console.log(JSON.stringify(more()));
} else {
  const { stdin, file, fifo } = workerData;
  globalThis.held = [
    await openStdio({ stdin, stdout: file, stderr: fifo }),
    await listenConsole({ stdin, stdout: fifo, stderr: "" }),
    await connect(new Duplex({ read() {}, write() {} })),
    runProcess("/bin/sh", ["-c", "cat >/dev/null; exec sleep 0.2"], { input: new Uint8Array(1 << 20) }),
  ];
  // eslint-disable-next-line unicorn/require-post-message-target-origin -- A port has no origin.
  parentPort.postMessage("held");
}
