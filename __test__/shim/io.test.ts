import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { listenConsole, openStdio, type StdioOptions } from "containerd-shim-protos/shim/io";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { temporaryPath } from "../helpers/temp.js";
import { makeFifo } from "../helpers/shell.js";

describe("the streams of a process", () => {
  const folder = temporaryPath();
  let count = 0;

  beforeAll(() => mkdirSync(folder));

  function path(): string {
    return join(folder, `path-${++count}`);
  }

  function fifo(): string {
    return makeFifo(path());
  }

  /** Runs a shell script with these streams. The streams are closed when it has ended. */
  async function run(
    script: string,
    { stdin = "", stdout = "", stderr = "" },
    options?: StdioOptions,
  ): Promise<{ child: ChildProcess; stdio: Awaited<ReturnType<typeof openStdio>> }> {
    const stdio = await openStdio({ stdin, stdout, stderr }, options);
    const child = spawn("/bin/sh", ["-c", script], { stdio: [...stdio.descriptors] });
    stdio.handedOver();
    child.once("exit", () => stdio.close());
    return { child, stdio };
  }

  test("flow while JavaScript is busy", async () => {
    const stdout = fifo();
    // Another process reads, since this one will not.
    const copy = path();
    const reader = spawn("/bin/sh", ["-c", `cat ${stdout} >${copy}`]);
    const { child, stdio } = await run("head -c 20000000 /dev/zero", { stdout });
    const exited = once(child, "exit");
    const until = Date.now() + 20_000;
    const size = () => statSync(copy, { throwIfNoEntry: false })?.size;
    while (size() !== 20_000_000 && Date.now() < until);
    expect(size()).toBe(20_000_000);
    await Promise.all([exited, once(reader, "exit"), stdio.drained]);
  });

  test("hold the process back while nobody reads, and lose nothing", async () => {
    const stdout = fifo();
    const { child } = await run("seq 1 200000", { stdout });
    let exited = false;
    child.once("exit", () => (exited = true));
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(exited).toBe(false);
    const lines = (await readFile(stdout, "utf8")).trimEnd().split("\n");
    expect(lines.length).toBe(200_000);
    expect(lines.at(-1)).toBe("200000");
  });

  test("reach a reader that reads after the process has ended", async () => {
    const stdout = fifo();
    // Without a reader at all, the bytes would go with the fifo's last descriptor.
    const reader = await open(stdout, "r+");
    const { child, stdio } = await run("echo early", { stdout });
    await Promise.all([once(child, "exit"), stdio.drained]);
    expect((await reader.read()).buffer.subarray(0, 6).toString()).toBe("early\n");
    await reader.close();
  });

  test("are flushed once their reader has taken what there was, though a process may still write", async () => {
    const stdout = fifo();
    const reader = await open(stdout, "r+");
    const { child, stdio } = await run("echo words; exec sleep 100", { stdout });
    await vi.waitFor(async () => expect((await reader.read()).bytesRead).toBe(6));
    await stdio.flush();
    child.kill();
    await stdio.drained;
    // Nothing is left to wait for.
    await stdio.flush();
    await reader.close();
  });

  test("are flushed though nobody reads", async () => {
    const { child, stdio } = await run("echo words", { stdout: fifo() });
    await once(child, "exit");
    await expect(Promise.all([stdio.flush(), stdio.drained])).resolves.toBeDefined();
  });

  test("end for the process when stdin was closed and its last writer has left", async () => {
    const [stdin, stdout] = [fifo(), fifo()];
    const reading = readFile(stdout, "utf8");
    const { child, stdio } = await run("cat; echo end", { stdin, stdout });
    const exited = once(child, "exit");
    const first = await open(stdin, "w");
    await first.write("one ");
    await first.close();
    const second = await open(stdin, "w");
    stdio.closeStdin();
    await second.write("two ");
    await second.close();
    await exited;
    expect(await reading).toBe("one two end\n");
  });

  test("belong to the user and group that are given", async () => {
    const stdout = fifo();
    const reading = readFile(stdout, "utf8");
    await run("stat -L -c %u:%g /proc/self/fd/1", { stdout }, { uid: 1234, gid: 5678 });
    expect(await reading).toBe("1234:5678\n");
  });

  test("go to a logging program, with what its URI and the options say", async () => {
    const program = path();
    const lines = [
      "#!/bin/sh",
      `env | grep ^CONTAINER_ | sort >${program}.env`,
      `echo "$@" >${program}.args`,
      "exec 5>&-",
      `cat <&3 >${program}.out`,
    ];
    writeFileSync(program, `${lines.join("\n")}\n`);
    chmodSync(program, 0o755);
    const options = { id: "box", namespace: "k8s.io" };
    const { stdio } = await run("echo logged", { stdout: `binary://${program}?a=1&a=2&b=%20c` }, options);
    await stdio.drained;
    expect(readFileSync(`${program}.env`, "utf8")).toBe("CONTAINER_ID=box\nCONTAINER_NAMESPACE=k8s.io\n");
    expect(readFileSync(`${program}.args`, "utf8")).toBe("a 1 b  c\n");
    expect(readFileSync(`${program}.out`, "utf8")).toBe("logged\n");
  });

  test.each(["FILE://", "file://host", "File:"])(
    "go to the file of a URI that begins with %s",
    async (scheme) => {
      const file = path();
      const { stdio } = await run("echo written", { stdout: `${scheme}${file}%20a?b#c` });
      await stdio.drained;
      expect(readFileSync(`${file} a`, "utf8")).toBe("written\n");
    },
  );

  test.each(["BINARY://", "binary:"])(
    "go to the logging program of a URI that begins with %s",
    async (scheme) => {
      const program = path();
      writeFileSync(program, `#!/bin/sh\nexec 5>&-\ncat <&3 >${program}.out\n`, { mode: 0o755 });
      const { stdio } = await run("echo logged", { stdout: `${scheme}${program}` });
      await stdio.drained;
      expect(readFileSync(`${program}.out`, "utf8")).toBe("logged\n");
    },
  );

  test("go to the fifo of a URI", async () => {
    const fifos = [fifo(), fifo()];
    const reads = fifos.map((each) => readFile(each, "utf8"));
    const [stdout = "", stderr = ""] = fifos;
    await run("echo out; echo err >&2", { stdout: `FIFO://${stdout}`, stderr: `fifo:${stderr}` });
    expect(await Promise.all(reads)).toEqual(["out\n", "err\n"]);
  });

  test.each([
    ["a logging program that is missing", "binary:///no/logger", /\/no\/logger.*ENOENT/],
    ["a logging program that ends before it is ready", "binary-v2:///bin/true", /ended before it was ready/],
    ["a URI without a program", "binary://", /names no logging program/],
    ["a URI that is malformed", "file:///%zz", /cannot parse the URI file:\/\/\/%zz/],
    ["an unknown scheme", "npipe:///x", /unknown STDIO scheme npipe/],
    ["a fifo that is missing", "/no/fifo", /ENOENT.*\/no\/fifo/],
  ])("are refused with %s, and nothing stays open", async (_, stdout, said) => {
    const before = readdirSync("/proc/self/fd").length;
    await expect(openStdio({ stdin: fifo(), stdout, stderr: "" })).rejects.toThrow(said);
    expect(readdirSync("/proc/self/fd").length).toBe(before);
  });

  test("are closed with their logging program if stdin cannot be opened", async () => {
    const program = path();
    writeFileSync(program, `#!/bin/sh\necho $$ >${program}.pid\nexec 5>&-\ncat <&3\n`);
    chmodSync(program, 0o755);
    const before = readdirSync("/proc/self/fd").length;
    const opening = openStdio({ stdin: "/no/fifo", stdout: `binary://${program}`, stderr: "" });
    await expect(opening).rejects.toThrow(/ENOENT.*\/no\/fifo/);
    expect(readdirSync("/proc/self/fd").length).toBe(before);
    const pid = readFileSync(`${program}.pid`, "utf8").trim();
    await vi.waitFor(() => expect(statSync(`/proc/${pid}`, { throwIfNoEntry: false })).toBeUndefined());
  });

  test("close in a worker no descriptor of another thread", async () => {
    const file = path();
    const worker = new Worker(
      `const { parentPort, workerData } = require("node:worker_threads");
      import("containerd-shim-protos/shim/io").then(async ({ openStdio }) => {
        const stdio = await openStdio({ stdin: "", stdout: "file://" + workerData, stderr: "" });
        stdio.handedOver();
        await stdio.drained;
        parentPort.postMessage("drained");
      });`,
      { eval: true, workerData: file },
    );
    await once(worker, "message");
    // These have the numbers that the worker no longer uses.
    const opened = await Promise.all(Array.from({ length: 20 }, () => open("/dev/null")));
    await worker.terminate();
    for (const one of opened) await one.stat();
    for (const one of opened) await one.close();
    expect(opened).toHaveLength(20);
  });

  test("bring no warning in a worker", async () => {
    const program = path();
    writeFileSync(program, "#!/bin/sh\nexec 5>&-\ncat <&3 >/dev/null\n");
    chmodSync(program, 0o755);
    const streams = { stdin: fifo(), file: `file://${path()}`, fifo: fifo(), logger: `binary://${program}` };
    const script = fileURLToPath(new URL("worker-streams.mjs", import.meta.url));
    const child = spawn(process.execPath, ["--trace-warnings", script, JSON.stringify(streams)]);
    let printed = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk: Buffer) => (printed += chunk.toString()));
    }
    expect(await once(child, "close")).toEqual([0, null]);
    expect(printed).toBe("");
  });

  test("leave no descriptor open when their workers are terminated", async () => {
    const streams = { stdin: fifo(), file: `file://${path()}`, fifo: fifo() };
    const script = fileURLToPath(new URL("worker-descriptors.mjs", import.meta.url));
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [script, JSON.stringify(streams)]);
    expect(JSON.parse(stdout)).toEqual([]);
    expect(stderr).toBe("");
  });

  test("leave no descriptor open after many processes", async () => {
    const one = async () => {
      const [stdin, stdout, stderr] = [fifo(), fifo(), fifo()];
      const reading = Promise.all([readFile(stdout), readFile(stderr)]);
      const { stdio } = await run("echo out; echo err >&2", { stdin, stdout, stderr });
      await Promise.all([reading, stdio.drained]);
    };
    // What is opened once, such as the pump, is there from here on.
    await one();
    await new Promise((resolve) => setTimeout(resolve, 200));
    const before = readdirSync("/proc/self/fd").length;
    for (let round = 0; round < 20; round++) await one();
    await vi.waitFor(() => expect(readdirSync("/proc/self/fd").length).toBe(before));
  });

  test("have the socket for a terminal in /tmp if it has no room where temporary files are", async () => {
    const long = path() + "x".repeat(100);
    mkdirSync(long);
    vi.stubEnv("TMPDIR", long);
    using socket = await listenConsole({ stdin: "", stdout: "", stderr: "" });
    expect(socket.path).toMatch(/^\/tmp\/pty[^/]+\/pty\.sock$/);
    expect(readdirSync(long)).toEqual([]);
    vi.unstubAllEnvs();
  });

  test("name the folder in which the socket for a terminal cannot be made", async () => {
    const file = path();
    writeFileSync(file, "");
    vi.stubEnv("TMPDIR", file);
    const refused = listenConsole({ stdin: "", stdout: "", stderr: "" });
    await expect(refused).rejects.toThrow(`'${file}/pty`);
    vi.unstubAllEnvs();
  });
});
