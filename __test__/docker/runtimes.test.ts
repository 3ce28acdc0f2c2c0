import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Containers } from "./containers.js";
import { shims } from "../cri/machine/traces.js";
import { useRunning } from "../cri/suite.js";
import { Engine } from "./engine.js";
import {
  BY_PATH,
  BY_TYPE,
  NODE,
  NODE_WITH_LOST_OPTIONS,
  NODE_WITH_OPTIONS,
  OWN_WITH_OPTIONS,
  type Runtime,
  type WithOptions,
} from "./runtimes.js";

const engine = useRunning(() => Engine.start());
const named = <T extends Runtime>(...runtimes: T[]): [string, T][] =>
  runtimes.map((runtime) => [runtime.name, runtime]);

describe.each(named(NODE, BY_TYPE, BY_PATH))("%s", (_, runtime) => {
  test("runs containers, by the program of shim-runc", async () => {
    const c = new Containers(engine(), runtime);
    await c.start("host", [], "sleep 1000");
    const [pid] = shims(await c.printed("host", "inspect", "--format", "{{.Id}}"));
    expect(readFileSync(`/proc/${pid}/cmdline`, "utf8")).toContain("containerd-shim-noderunc-v1");
    expect(await c.exec("host", ["-i"], "cat", "in\n")).toMatchObject({ code: 0, stdout: "in\n" });
    await c.of("host", "rm", "--force");
  });
});

describe.each(named(OWN_WITH_OPTIONS, NODE_WITH_OPTIONS))("%s", (_, runtime) => {
  test("gets the runc, the folder of its state, and the choice of systemd's cgroups", async () => {
    const c = new Containers(engine(), runtime);
    await c.start("host", [], "sleep 1000");
    const id = await c.printed("host", "inspect", "--format", "{{.Id}}");
    expect((await c.exec("host", [], "echo here")).stdout).toBe("here\n");
    expect(readdirSync(join(runtime.root, "moby"))).toEqual([id]);
    const calls = readFileSync(`${runtime.runc}.calls`, "utf8").trim().split("\n");
    for (const command of ["create", "start", "exec"])
      expect(
        calls.some((call) => call.includes(` ${command} `)),
        command,
      ).toBe(true);
    // Asked for its features, it has none of these.
    for (const call of calls.filter((line) => line.includes(id))) {
      expect(call).toContain(`--root ${join(runtime.root, "moby")} `);
      expect(call).toContain("--systemd-cgroup ");
    }
    await c.of("host", "rm", "--force");
    expect(readdirSync(join(runtime.root, "moby"))).toEqual([]);
  });
});

describe.each<[string, WithOptions]>(named(NODE_WITH_LOST_OPTIONS))("%s", (_, runtime) => {
  test("gets none of the options that belong into the file of ConfigPath: Docker drops them", async () => {
    const c = new Containers(engine(), runtime);
    expect(await c.script([], "echo here")).toMatchObject({ code: 0, stdout: "here\n" });
    expect(existsSync(`${runtime.runc}.calls`)).toBe(false);
  });
});

test("a runtime that is not there is refused, and so is the path of a program", async () => {
  for (const [runtime, reason] of [
    ["io.containerd.nosuch.v1", 'binary not installed "containerd-shim-nosuch-v1"'],
    ["/usr/bin/containerd-shim-noderunc-v1", "unknown or invalid runtime name"],
  ] as const) {
    const result = await new Containers(engine(), { name: runtime, runtime }).script([], "true");
    expect(result.code).toBe(125);
    expect(result.stderr).toContain(reason);
  }
});
