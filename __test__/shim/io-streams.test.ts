import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { openStdio, type Stdio } from "containerd-shim-protos/shim/io";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { makeFifo } from "../helpers/shell.js";
import { temporaryPath } from "../helpers/temp.js";

/** What a program of Go that ends with its container does: it stops reading when it learns of the exit. */
async function exit(stdio: Stdio): Promise<void> {
  await stdio.flush();
  stdio.close();
}

describe("the streams of a container that is no process", () => {
  const folder = temporaryPath();
  let count = 0;
  beforeAll(() => mkdirSync(folder));
  const path = () => join(folder, `path-${++count}`);
  const fifo = () => makeFifo(path());

  test("pass on what is written to them, and what containerd's client writes", async () => {
    const [stdin, stdout, stderr] = [fifo(), fifo(), fifo()];
    const output = Promise.all([readFile(stdout, "utf8"), readFile(stderr, "utf8")]);
    const stdio = await openStdio({ stdin, stdout, stderr });
    const streams = stdio.streams();
    const writer = await open(stdin, "w");
    await writer.write("input");
    await writer.close();
    stdio.closeStdin();
    const input = await text(streams.stdin!);
    streams.stdout!.write(`got ${input}`);
    streams.stderr!.write("complaint");
    await exit(stdio);
    await stdio.drained;
    expect(await output).toEqual(["got input", "complaint"]);
  });

  test("have nothing lost that was written before they were closed, however late it is read", async () => {
    const stdout = fifo();
    const reader = await open(stdout, "r+");
    const stdio = await openStdio({ stdin: "", stdout, stderr: "" });
    const streams = stdio.streams();
    const size = 3_000_000;
    streams.stdout!.write(Buffer.alloc(size, "x"));
    await exit(stdio);
    let read = 0;
    const chunk = Buffer.alloc(1 << 16);
    while (read < size) read += (await reader.read(chunk)).bytesRead;
    await stdio.drained;
    expect(read).toBe(size);
    await reader.close();
  });

  test("hold their writer back while nobody reads", async () => {
    const stdout = fifo();
    const stdio = await openStdio({ stdin: "", stdout, stderr: "" });
    const streams = stdio.streams();
    let given = 0;
    function* chunks() {
      while (given < 100 << 16) {
        given += 1 << 16;
        yield Buffer.alloc(1 << 16, "y");
      }
    }
    const written = pipeline(Readable.from(chunks()), streams.stdout!);
    await vi.waitFor(() => expect(streams.stdout!.writableNeedDrain).toBe(true), 10_000);
    let read = 0;
    for await (const chunk of (await open(stdout, "r")).createReadStream({ highWaterMark: 1 << 16 })) {
      expect(given - read).toBeLessThan(4 << 20);
      read += (chunk as Buffer).length;
      if (read < 100 << 16) continue;
      await written;
      await exit(stdio);
    }
    expect(read).toBe(100 << 16);
    await stdio.drained;
  });

  test("go to a logging program, which ends after it has read everything", async () => {
    const [program, log] = [path(), path()];
    writeFileSync(program, '#!/bin/sh\nexec 5>&-\ncat <&3 >"$2"\n');
    chmodSync(program, 0o755);
    const stdio = await openStdio({ stdin: "", stdout: `binary://${program}?log=${log}`, stderr: "" });
    const streams = stdio.streams();
    streams.stdout!.write("a".repeat(500_000));
    streams.stdout!.end("end");
    await exit(stdio);
    await stdio.drained;
    expect(await readFile(log, "utf8")).toBe(`${"a".repeat(500_000)}end`);
  });

  test("do not end the shim when a logging program has gone", async () => {
    const program = path();
    writeFileSync(program, "#!/bin/sh\nexec 5>&-\nexit 0\n");
    chmodSync(program, 0o755);
    const stdio = await openStdio({ stdin: "", stdout: `binary://${program}`, stderr: "" });
    const { stdout } = stdio.streams();
    await vi.waitFor(() => {
      stdout!.write("words");
      expect(stdout!.destroyed).toBe(true);
    });
    await exit(stdio);
    await stdio.drained;
  });

  test("are handed out once", async () => {
    const stdio = await openStdio({ stdin: "", stdout: fifo(), stderr: "" });
    expect(Object.keys(stdio.streams())).toEqual(["stdin", "stdout", "stderr"]);
    expect(() => stdio.streams()).toThrow("have been handed over");
    stdio.abandon();
    const closed = await openStdio({ stdin: "", stdout: fifo(), stderr: "" });
    closed.close();
    expect(() => closed.streams()).toThrow("or closed");
  });
});
