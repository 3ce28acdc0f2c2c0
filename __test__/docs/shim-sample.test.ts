import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { connect, createClient } from "containerd-shim-protos";
import { createTestShim, type CreateTaskService } from "containerd-shim-protos/shim/testing";
import { Task } from "containerd-shim-protos/task/v3";
import { transform } from "esbuild";
import { expect, test, vi } from "vitest";
import { makeFifo } from "../helpers/shell.js";
import { ShimHost } from "../shim/shim.js";
import { blocksOf } from "./blocks.js";
import { userProject } from "./project.js";

const TIMES = 30;

/** The two files of the sample, as JavaScript in a user's project. Returns the path of the program. */
async function sample(): Promise<string> {
  const files: Record<string, string> = {};
  for (const { name, code } of blocksOf("docs/shim.md")) {
    if (name !== "main.ts" && name !== "service.ts") continue;
    files[name.replace(".ts", ".js")] = (await transform(code, { loader: "ts" })).code;
  }
  expect(Object.keys(files)).toEqual(["main.js", "service.js"]);
  return join(userProject(files), "main.js");
}

/** The sample's service, for tests in this process. */
async function service(): Promise<{ createService: CreateTaskService }> {
  return (await import(join(dirname(await sample()), "service.js"))) as { createService: CreateTaskService };
}

test(`the guide's small shim tells how its process ended, ${TIMES} times at once`, async () => {
  const program = [await sample()];
  const run = async (index: number) => {
    using host = new ShimHost({ id: `sample-${index}`, program });
    const { bundle, id } = host;
    const script = index === 0 ? "kill -TERM $$" : `exit ${index}`;
    const spec = { process: { args: ["/bin/sh", "-c", script], cwd: "/" } };
    const child = host.spawn([...host.flags, "-socket", join(bundle, "s")]);
    try {
      await using connection = await connect(`unix://${join(bundle, "s")}`, {
        waitForReady: true,
        connectTimeoutMs: 60_000,
      });
      const task = createClient(Task, connection);
      await task.create({ id, bundle });
      writeFileSync(
        join(bundle, "config.json"),
        JSON.stringify({ process: { args: ["/no/such"], cwd: "/" } }),
      );
      await expect(task.start({ id })).rejects.toThrow("spawn /no/such ENOENT");
      writeFileSync(join(bundle, "config.json"), JSON.stringify(spec));
      // Wait may come before Start, after it, or as the process ends.
      const waiting = index % 3 === 0 ? task.wait({ id }) : undefined;
      await task.start({ id });
      await expect(task.start({ id })).rejects.toThrow("has been started");
      const { exitStatus } = await (waiting ?? task.wait({ id }));
      expect(await task.delete({ id })).toMatchObject({ exitStatus });
      await task.shutdown({ id });
      return exitStatus;
    } finally {
      child.kill("SIGKILL");
    }
  };
  const statuses = await Promise.all(Array.from({ length: TIMES }, (_, index) => run(index)));
  expect(statuses).toEqual(Array.from({ length: TIMES }, (_, index) => index || 143));
}, 120_000);

test("the small shim gives its process the container's environment alone", async () => {
  const { createService } = await service();
  const process = { args: ["/usr/bin/env"], cwd: "/", env: ["A=b=c"] };
  await using shim = await createTestShim(createService, { spec: { process } });
  const { id, bundle, task } = shim;
  const stdout = join(bundle, "output");
  await task.create({ id, bundle, stdout: `file://${stdout}` });
  await task.start({ id });
  await task.wait({ id });
  await vi.waitFor(() => expect(readFileSync(stdout, "utf8")).toBe("A=b=c\n"));
});

test("the small shim ends its process's stdin if CloseIO comes before Start", async () => {
  const { createService } = await service();
  const spec = { process: { args: ["/bin/cat"], cwd: "/" } };
  await using shim = await createTestShim(createService, { spec });
  const { id, bundle, task } = shim;
  await task.create({ id, bundle, stdin: makeFifo(join(bundle, "stdin")) });
  await task.closeIO({ id, stdin: true });
  await task.start({ id });
  expect(await task.wait({ id }, { timeoutMs: 10_000 })).toMatchObject({ exitStatus: 0 });
  await expect(task.create({ id, bundle, terminal: true })).rejects.toThrow("there are no terminals");
});
