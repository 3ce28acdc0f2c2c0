import { getEventListeners } from "node:events";
import { readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { runProcess, startProcess } from "containerd-shim-protos/shim/process";
import { describe, expect, test } from "vitest";

const sh = (script: string, options = {}) => runProcess("/bin/sh", ["-c", script], options);
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
const descriptors = () => readdirSync("/proc/self/fd").length;

describe("a program that a shim runs to its end", () => {
  test("gives its status and what it printed", async () => {
    const { status, stdout, stderr, truncated } = await sh("echo one; echo two >&2; exit 3");
    expect([status, text(stdout), text(stderr), truncated]).toEqual([3, "one\n", "two\n", false]);
  });

  test("runs where and with what it is told, and tells the signal that ended it", async () => {
    const { status, stdout } = await sh("pwd; env; kill -9 $$", { cwd: "/proc", env: { ONLY: "this" } });
    expect(status).toBe(137);
    expect(text(stdout)).toMatch(/^\/proc\n/);
    expect(text(stdout)).toContain("ONLY=this\n");
    expect(text(stdout)).not.toContain("PATH=/");
  });

  test("may open its stdin, stdout and stderr by their names", async () => {
    const script = "cat /dev/stdin > /dev/stdout; echo failed > /dev/stderr";
    const { stdout, stderr } = await sh(script, { input: Buffer.from("given") });
    expect([text(stdout), text(stderr)]).toEqual(["given", "failed\n"]);
  });

  test("gets /dev/null as its stdin", async () => {
    expect(text((await sh("readlink /proc/self/fd/0")).stdout)).toBe("/dev/null\n");
  });

  test("loses nothing that it printed just before its end", async () => {
    for (let round = 0; round < 20; round++) {
      const { stdout, stderr } = await sh("head -c 60000 /dev/zero >&2; head -c 65536 /dev/zero");
      expect([stdout.length, stderr.length]).toEqual([65_536, 60_000]);
    }
  });

  test("may print and get more than a pipe holds", async () => {
    const input = Buffer.alloc(1 << 20, "abc");
    const { status, stdout, truncated } = await runProcess("/bin/cat", [], { input });
    expect([status, truncated]).toEqual([0, false]);
    expect(input.equals(stdout)).toBe(true);
  });

  test("need not read its input", async () => {
    const { status } = await runProcess("/bin/true", [], { input: new Uint8Array(1 << 20) });
    expect(status).toBe(0);
  });

  test("never waits for the limit of what is kept, and the first bytes are", async () => {
    const options = { maxOutputBytes: 10 };
    const { status, stdout, truncated } = await sh("printf 0123456789ab; head -c 3000000 /dev/zero", options);
    expect([status, text(stdout), truncated]).toEqual([0, "0123456789", true]);
    expect(await sh("printf x", { maxOutputBytes: 0 })).toMatchObject({
      stdout: Buffer.of(),
      truncated: true,
    });
  });

  test("is not waited for by way of what it leaves behind", async () => {
    const { stdout } = await sh("sleep 100 & echo $!");
    const pid = Number(text(stdout));
    expect(pid).toBeGreaterThan(0);
    process.kill(pid, "SIGKILL");
  });

  test("ends even if what it leaves behind prints without end", async () => {
    const { stdout, truncated } = await sh("yes & echo $!; sleep 0.1");
    expect(truncated).toBe(true);
    const pid = Number(/^\d+/m.exec(text(stdout.subarray(0, 100)))?.[0] ?? Number.NaN);
    // SIGPIPE ends it: nobody reads any more.
    const isThere = () => {
      try {
        return process.kill(pid, 0);
      } catch {
        return false;
      }
    };
    while (isThere()) await sleep(10);
  });

  test("leaves no descriptor open, whether it could be started or not", async () => {
    await sh("true");
    const before = descriptors();
    for (const options of [{}, { input: new Uint8Array(1 << 20) }, { input: new Uint8Array(0) }]) {
      await sh("exit 1", options);
      await expect(runProcess("/no/program", [], options)).rejects.toMatchObject({ code: "ENOENT" });
      await expect(runProcess("/bin/true", ["\0"], options)).rejects.toThrow(/null bytes/);
    }
    await sleep(20);
    expect(descriptors()).toBe(before);
  });

  test("is killed by its signal, and not started once that has aborted", async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const killed = runProcess("/bin/sleep", ["1000"], { signal });
    const started = await startProcess("/bin/sleep", ["1000"], { signal });
    controller.abort(new Error("enough"));
    expect([await killed, await started.exited]).toMatchObject([{ status: 137 }, { status: 137 }]);
    await expect(runProcess("/bin/true", [], { signal })).rejects.toThrow("enough");
    await expect(startProcess("/bin/true", [], { signal })).rejects.toThrow("enough");
  });

  test("shares a signal with many others, whose event no listener can keep from them", async () => {
    const controller = new AbortController();
    const { signal } = controller;
    signal.addEventListener("abort", (event) => event.stopImmediatePropagation());
    const processes = Array.from({ length: 12 }, () => runProcess("/bin/sleep", ["1000"], { signal }));
    // One for all, beside the program's own: Node warns of a leak where there are more than ten.
    expect(getEventListeners(signal, "abort")).toHaveLength(2);
    controller.abort();
    for (const { status } of await Promise.all(processes)) expect(status).toBe(137);
  });

  test("leaves nothing at a signal that outlives it", async () => {
    const { signal } = new AbortController();
    await runProcess("/bin/true", [], { signal });
    await (
      await startProcess("/bin/true", [], { signal })
    ).exited;
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });
});
