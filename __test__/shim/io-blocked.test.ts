import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { Worker } from "node:worker_threads";
import { openStdio } from "containerd-shim-protos/shim/io";
import { describe, expect, test } from "vitest";
import { temporaryPath } from "../helpers/temp.js";
import { FrozenDisk, missingForDisks } from "./frozen.js";
import { makeFifo } from "../helpers/shell.js";

const missing = missingForDisks();
const note = missing.length > 0 ? ` (skipped: needs ${missing.join(", ")})` : "";

describe.skipIf(missing.length > 0)(`streams to a disk that does not answer${note}`, () => {
  /** Starts a shell script whose stdout and stderr go where they are to. */
  async function start(script: string, stdout: string, stderr: string) {
    const stdio = await openStdio({ stdin: "", stdout, stderr });
    const child = spawn("/bin/sh", ["-c", script], { stdio: [...stdio.descriptors] });
    stdio.handedOver();
    const exited = once(child, "exit").then(() => stdio.close());
    return { stdio, exited };
  }

  function fifo(): string {
    return makeFifo(temporaryPath());
  }

  test("hold up no other stream, not even of the same process, and lose nothing", async () => {
    using disk = new FrozenDisk();
    const log = disk.path("log");
    writeFileSync(log, "");
    disk.freeze();
    const stderr = fifo();
    const reading = readFile(stderr, "utf8");
    const one = await start("echo logged; sleep 0.2; seq 1 10000 >&2", `file://${log}`, stderr);
    expect((await reading).split("\n").length).toBe(10_001);
    await one.exited;
    // Another process has streams too.
    const stdout = fifo();
    const other = readFile(stdout, "utf8");
    const two = await start("echo here", stdout, "");
    expect(await other).toBe("here\n");
    await Promise.all([two.exited, two.stdio.drained]);
    disk.thaw();
    await one.stdio.drained;
    expect(readFileSync(log, "utf8")).toBe("logged\n");
  });

  test("are opened when it answers, and hold up no other opening", async () => {
    using disk = new FrozenDisk();
    disk.freeze();
    const log = disk.path("folder/log");
    const opening = Array.from({ length: 8 }, () =>
      openStdio({ stdin: "", stdout: `file://${log}`, stderr: "" }),
    );
    const stdout = fifo();
    const reading = readFile(stdout, "utf8");
    const { exited } = await start("echo here", stdout, "");
    expect(await reading).toBe("here\n");
    await exited;
    expect(await Promise.race([Promise.race(opening).then(() => "opened"), "frozen"])).toBe("frozen");
    disk.thaw();
    for (const stdio of await Promise.all(opening)) stdio.abandon();
  });

  test("outlive the worker that had them, and harm nobody", async () => {
    using disk = new FrozenDisk();
    const log = disk.path("log");
    writeFileSync(log, "");
    disk.freeze();
    const worker = new Worker(
      `const { parentPort, workerData } = require("node:worker_threads");
      const { writeSync } = require("node:fs");
      import("containerd-shim-protos/shim/io").then(async ({ openStdio }) => {
        const stdio = await openStdio({ stdin: "", stdout: "file://" + workerData, stderr: "" });
        writeSync(stdio.descriptors[1], "logged");
        stdio.handedOver();
        setTimeout(() => parentPort.postMessage("started"), 200);
      });`,
      { eval: true, workerData: log },
    );
    await once(worker, "message");
    await worker.terminate();
    disk.thaw();
    const file = await open(log, "r");
    for (let text = ""; text !== "logged";) text = await file.readFile("utf8");
    await file.close();
    expect(readFileSync(log, "utf8")).toBe("logged");
  });
});
