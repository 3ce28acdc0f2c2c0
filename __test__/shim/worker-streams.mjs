// In a worker: opens, uses and closes everything of `/shim/io`, `/shim/process` and `/shim/cgroup` that has descriptors. Prints
// nothing.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { Cgroup } from "containerd-shim-protos/shim/cgroup";
import { listenConsole, openStdio } from "containerd-shim-protos/shim/io";
import { runProcess } from "containerd-shim-protos/shim/process";

if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url), { workerData: JSON.parse(process.argv[2] ?? "") });
  await once(worker, "exit");
} else {
  const { stdin, file, fifo, logger } = workerData;
  for (const stdout of [file, fifo, logger]) {
    const stdio = await openStdio({ stdin, stdout, stderr: file });
    const child = spawn("/bin/true", { stdio: [...stdio.descriptors] });
    stdio.handedOver();
    await once(child, "exit");
    stdio.close();
    await stdio.drained;
    (await openStdio({ stdin, stdout, stderr: file })).abandon();
    (await listenConsole({ stdin, stdout, stderr: "" }))[Symbol.dispose]();
  }
  await openStdio({ stdin, stdout: file, stderr: "/no/fifo" }).catch(() => undefined);
  await runProcess("cat", [], { input: new Uint8Array(1) });
  await runProcess("/no/program").catch(() => undefined);
  try {
    Cgroup.of(process.pid)
      ?.watchOom(() => undefined)
      .close();
  } catch {
    // There is no memory controller, or no right to watch it.
  }
}
