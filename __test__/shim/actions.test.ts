import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema, timestampDate } from "@bufbuild/protobuf/wkt";
import { openTask } from "containerd-shim-protos/shims";
import { DeleteResponseSchema } from "containerd-shim-protos/task/v3";
import { RuntimeInfoSchema } from "containerd-shim-protos/types";
import { expect, test, vi } from "vitest";
import { pathOf } from "../helpers/temp.js";
import { ShimHost } from "./shim.js";

test("delete answers with the end of the container on stdout, and what the shim prints goes to stderr", async () => {
  using host = new ShimHost({ does: "exit" });
  const { code, stdout, stderr } = await host.run([...host.flags, "-bundle", host.bundle, "delete"]);
  expect(code).toBe(0);
  expect(fromBinary(DeleteResponseSchema, stdout)).toMatchObject({ pid: 42, exitStatus: 3 });
  expect(stderr).toBe(`clearing up box in ${host.bundle}\n`);
});

test.each([
  ["container", "", 0],
  ["end", "unknown", 42],
])("delete reports an unknown %s as killed just now", async (_, does, expected) => {
  using host = new ShimHost({ does });
  const before = Date.now();
  const { stdout } = await host.run([...host.flags, "delete"]);
  const { pid, exitStatus, exitedAt } = fromBinary(DeleteResponseSchema, stdout);
  expect({ pid, exitStatus }).toEqual({ pid: expected, exitStatus: 137 });
  expect(timestampDate(exitedAt!).getTime()).toBeGreaterThanOrEqual(before);
});

test("delete says where a mistake in the shim is, which the text of its error does not say", async () => {
  using host = new ShimHost({ does: "mistaken" });
  const { code, stderr } = await host.run([...host.flags, "delete"]);
  expect(code).toBe(1);
  expect(stderr).toMatch(/^io\.containerd\.fixture\.v1: Cannot read .*\), at .*fixture\.mjs:\d+:\d+\).*\n$/);
});

test.each(["address", "bootstrap.json"])(
  "delete removes the socket of a killed shim, whose address is in %s",
  async (file) => {
    using host = new ShimHost();
    const address = await host.address();
    for (const pid of host.processes()) process.kill(pid, "SIGKILL");
    await vi.waitFor(() => expect(host.processes()).toEqual([]));
    expect(existsSync(pathOf(address))).toBe(true);
    writeFileSync(
      join(host.bundle, file),
      file === "address" ? address : JSON.stringify({ version: 3, address }),
    );
    await host.run([...host.flags, "-bundle", host.bundle, "delete"]);
    expect(existsSync(pathOf(address))).toBe(false);
  },
);

test("delete leaves the socket of a running shim, which may have other containers", async () => {
  using host = new ShimHost();
  const address = await host.address();
  writeFileSync(join(host.bundle, "address"), address);
  await host.run([...host.flags, "-bundle", host.bundle, "delete"]);
  expect(existsSync(pathOf(address))).toBe(true);
});

test("-info answers with the runtime's name and version and what the shim adds, whatever the shim prints", async () => {
  using host = new ShimHost();
  const { code, stdout, stderr } = await host.run(["-info"]);
  expect(code).toBe(0);
  expect(fromBinary(RuntimeInfoSchema, stdout)).toMatchObject({
    name: "io.containerd.fixture.v1",
    version: { version: "1.2.3" },
    annotations: { options: "none" },
  });
  expect(stderr).toBe("asked\n");
});

test("-info passes on the options that containerd writes", async () => {
  using host = new ShimHost();
  const options = toBinary(AnySchema, create(AnySchema, { typeUrl: "my.Options" }));
  const { stdout } = await host.run(["-info"], options);
  expect(fromBinary(RuntimeInfoSchema, stdout).annotations).toEqual({ options: "my.Options" });
});

test.each(["-v", "-version"])("%s prints the version", async (flag) => {
  using host = new ShimHost();
  const { code, stdout } = await host.run([flag]);
  expect(code).toBe(0);
  expect(stdout.toString()).toContain("1.2.3");
});

test("flags may have two dashes, and their values behind =, as in Go", async () => {
  using host = new ShimHost();
  const { code, stdout } = await host.run(["--namespace=x", "--id=y", "-debug=true", "delete"]);
  expect([code, fromBinary(DeleteResponseSchema, stdout).exitStatus]).toEqual([0, 137]);
});

test.each([
  [["-id", "x", "start"], "-namespace must not be empty"],
  [["-namespace", "x", "start"], "-id must not be empty"],
  [["-namespace", "x", "-id", "y", "restart"], "the action must be start or delete, not restart"],
  [
    ["-namespace", "x", "-id", "y", "-nonsense", "start"],
    "there is no flag -nonsense, only -namespace, -id,",
  ],
  [["-h"], "there is no flag -h, only"],
  [["-namespace", "x", "-id"], "-id needs a value"],
  [[], "there is nothing to do without start, delete, -info, -version or -socket PATH"],
  [
    ["-namespace", "x", "-id", "y"],
    "there is nothing to do without start, delete, -info, -version or -socket PATH",
  ],
])("%j is refused with its reason", async (args, reason) => {
  using host = new ShimHost();
  const { code, stdout, stderr } = await host.run(args);
  expect({ code, stdout: stdout.toString() }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toContain(`io.containerd.fixture.v1: `);
  expect(stderr).toContain(reason);
});

test("in the foreground -socket is enough: events and all else go to the log", async () => {
  using host = new ShimHost({ does: "", env: { TTRPC_ADDRESS: "" } });
  const socket = join(host.bundle, "s");
  const child = host.spawn(["-socket", socket, "-debug"]);
  let log = "";
  child.stderr?.on("data", (chunk: Buffer) => (log += chunk.toString()));
  await vi.waitFor(() => expect(log).toContain(`msg="serving" address="unix://${socket}"`), 10_000);
  await using task = await openTask(socket, { id: "box" });
  await task.client.kill({ id: "box", signal: 5 });
  const event =
    /level=info msg="event" topic="\/tasks\/oom" event=".*containerId: 'shim'.*" .*namespace="default" id="shim"/;
  await vi.waitFor(() => expect(log).toMatch(event), 10_000);
  child.kill("SIGINT");
  await vi.waitFor(() => expect(child.exitCode).toBe(0), 10_000);
});

test("without an action the shim serves in the foreground, with its log on stderr", async () => {
  using host = new ShimHost();
  const socket = join(host.bundle, "s");
  const child = host.spawn([...host.flags, "-socket", socket, "-debug"]);
  let log = "";
  child.stderr?.on("data", (chunk: Buffer) => (log += chunk.toString()));
  await vi.waitFor(() => expect(log).toContain(`msg="serving" address="unix://${socket}"`), 10_000);
  child.kill("SIGINT");
  await vi.waitFor(() => expect(child.exitCode).toBe(0), 10_000);
  expect(existsSync(socket)).toBe(false);
});

test("a socket in a folder that cannot be made ends the shim with the reason", async () => {
  using host = new ShimHost();
  expect(await host.run(["-socket", "/proc/none/shim"])).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("ENOENT: no such file or directory, mkdir '/proc/none'") as string,
  });
});
