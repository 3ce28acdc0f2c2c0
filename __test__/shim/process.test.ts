import { execFileSync } from "node:child_process";
import { cpSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { childrenOfProcess, runProcess, startProcess } from "containerd-shim-protos/shim/process";
import { describe, expect, test } from "vitest";
import { ROOT, temporaryFolder } from "../helpers/program.js";

describe("a process that a shim starts", () => {
  test("tells its code, whenever it is asked", async () => {
    const started = await startProcess("/bin/sh", ["-c", "exit 7"]);
    const exit = await started.exited;
    expect(exit).toMatchObject({ pid: started.pid, status: 7 });
    expect(await started.exited).toBe(exit);
  });

  test("runs where and with what it is told", async () => {
    const options = { cwd: "/proc", env: { ONLY: "this" } };
    const started = await startProcess("/bin/sleep", ["100"], options);
    expect(readFileSync(`/proc/${started.pid}/environ`, "utf8")).toBe("ONLY=this\0");
    expect(started.kill("SIGKILL")).toBe(true);
    expect(await started.exited).toMatchObject({ status: 137 });
  });

  test.each([
    ["", [], {}, 'program must be the name or path of a program, not ""'],
    ["true", ["a", 1], {}, "args[1] must be a string, not number"],
    ["true", [], { env: { PATH: "/bin", LEVEL: 1 } }, 'env["LEVEL"] must be a string, not number'],
    ["true", [], { stdio: ["ignore", "pipe"] }, 'stdio[1] must be a descriptor or "ignore", not pipe'],
    ["true", [], { endsWithShim: "no" }, "endsWithShim must be a boolean, not no"],
  ])("is refused with the part that is wrong: %j %j %j", async (program, args, options, reason) => {
    await expect(startProcess(program, args as never, options as never)).rejects.toThrow(
      new TypeError(reason),
    );
  });

  test("gets no descriptor that has the lowest bits of a number that is none", async () => {
    await expect(startProcess("true", [], { stdio: [2 ** 32] })).rejects.toThrow(TypeError);
  });

  test.each([undefined, [], ["ignore"]] as const)("has /dev/null for what %j leaves out", async (stdio) => {
    const started = await startProcess("/bin/sleep", ["100"], { stdio });
    const streams = [0, 1, 2].map((fd) => readlinkSync(`/proc/${started.pid}/fd/${fd}`));
    started.kill();
    expect(streams).toEqual(["/dev/null", "/dev/null", "/dev/null"]);
  });

  test("is not signalled once it has ended", async () => {
    const started = await startProcess("/bin/true");
    await started.exited;
    expect(started.kill()).toBe(false);
    const killed = await startProcess("/bin/sleep", ["100"]);
    killed.kill("SIGTERM");
    await killed.exited;
    expect(killed.kill()).toBe(false);
  });

  test("gets real-time signals, by their numbers", async () => {
    // What systemd as a container's first process is stopped by.
    const SIGRTMIN_3 = 37;
    const started = await startProcess("/bin/sleep", ["100"]);
    expect(started.kill(SIGRTMIN_3)).toBe(true);
    await started.exited;
    expect(started.kill(SIGRTMIN_3)).toBe(false);
  });

  test.each([
    ["a program that is missing", "/no/program", {}],
    ["a folder that is missing", "/bin/true", { cwd: "/no/folder" }],
  ])("is the system's error with %s", async (_, program, options) => {
    await expect(startProcess(program, [], options)).rejects.toMatchObject({ code: "ENOENT" });
  });

  test.each(["/no/folder", "/proc/self/status"])("is refused by name for the folder %s", async (cwd) => {
    const reason = `there is no folder ${cwd} to run it in`;
    await expect(startProcess("/bin/true", [], { cwd })).rejects.toThrow(reason);
    await expect(runProcess("/bin/true", [], { cwd })).rejects.toThrow(reason);
  });

  test("is not among those that can be adopted", async () => {
    const started = await startProcess("/bin/sleep", ["100"]);
    await expect(childrenOfProcess().adopt(async () => started.pid)).rejects.toThrow(/started by Node/);
    started.kill("SIGKILL");
    await started.exited;
    expect(childrenOfProcess()).toBe(childrenOfProcess());
  });
});

test("a process has one reaper, however many copies of the package it loads", () => {
  const copy = temporaryFolder();
  cpSync(join(ROOT, "package.json"), join(copy, "package.json"));
  cpSync(join(ROOT, "dist"), join(copy, "dist"), {
    recursive: true,
    filter: (file) => !file.startsWith(join(ROOT, "dist/cli")) && !/\.(?:d\.ts|map)$/.test(file),
  });
  const script = `
    import { childrenOfProcess as one } from "${ROOT}/dist/shim/process.js";
    import { childrenOfProcess as other } from "${copy}/dist/shim/process.js";
    console.log(one !== other, one() === other(), process.listenerCount("SIGCHLD"));`;
  const addon = join(ROOT, readdirSync(ROOT).find((file) => file.endsWith(".node")) ?? "");
  const env = { NAPI_RS_NATIVE_LIBRARY_PATH: addon, ...process.env };
  const args = ["--input-type=module", "--eval", script];
  expect(execFileSync(process.execPath, args, { encoding: "utf8", env })).toBe("true true 1\n");
});
