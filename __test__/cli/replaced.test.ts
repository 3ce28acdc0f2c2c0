import { cpSync, readdirSync, renameSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { Code, createServer, packAny, type Server, TtrpcError } from "containerd-shim-protos";
import { TaskExitSchema } from "containerd-shim-protos/events";
import { Task } from "containerd-shim-protos/task/v3";
import { afterEach, expect, test } from "vitest";
import { ROOT, temporaryFolder } from "../helpers/program.js";
import { temporaryAddress } from "../helpers/temp.js";
import { Shimctl } from "./shimctl.js";

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close({ graceMs: 0 });
});

/** An installation of the package that can be removed. */
function installation(): string {
  const folder = temporaryFolder();
  const addons = readdirSync(ROOT).filter((name) => name.endsWith(".node"));
  for (const name of ["dist", "package.json", ...addons]) {
    cpSync(join(ROOT, name), join(folder, name), { recursive: true });
  }
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
  return folder;
}

test.each([
  ["an error", undefined, /^shimctl: FailedPrecondition \(9\): the cgroup has gone\n$/],
  [
    "an error without its details",
    packAny(TaskExitSchema, { containerId: "web" }),
    /^shimctl: FailedPrecondition \(9\): the cgroup has gone\n {2}its details cannot be shown: .+\n$/,
  ],
])("a command whose files were replaced while it ran reports %s", async (_, detail, said) => {
  const folder = installation();
  let waits!: () => void;
  const waiting = new Promise<void>((resolve) => (waits = resolve));
  let end!: () => void;
  const ended = new Promise<void>((resolve) => (end = resolve));
  const server = createServer().add(Task, {
    async wait() {
      waits();
      await ended;
      const details = detail === undefined ? [] : [detail];
      throw new TtrpcError("the cgroup has gone", Code.FailedPrecondition, { details });
    },
  });
  servers.push(server);
  const address = await server.listen(temporaryAddress());
  const command = [process.execPath, join(folder, "dist/cli/shimctl.js")];
  await using shimctl = new Shimctl(["call", address, "v3.Task/Wait"], {}, command);
  await waiting;
  renameSync(join(folder, "dist"), join(folder, "old"));
  end();
  const { code, stderr } = await shimctl.outcome();
  expect(stderr).toMatch(said);
  expect(code).toBe(1);
});
