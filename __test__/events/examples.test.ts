import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import {
  createPublisher,
  TaskDeleteSchema,
  TaskExitSchema,
  TaskStartSchema,
} from "containerd-shim-protos/events";
import { afterEach, describe, expect, test, vi } from "vitest";
import { openDatabase } from "../../examples/events/database.js";
import { temporaryAddress, temporaryPath } from "../helpers/temp.js";

const children = new Set<ChildProcess>();
afterEach(() => {
  for (const child of children) child.kill("SIGKILL");
  children.clear();
});

/** Starts an example, and resolves when it listens. */
async function example(name: string, ...args: string[]) {
  const file = join(import.meta.dirname, "../../examples/events", `${name}.ts`);
  const program = ["--import", import.meta.resolve("tsx"), file, ...args];
  const child = spawn(process.execPath, program, { stdio: ["ignore", "pipe", "inherit"] });
  children.add(child);
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  await vi.waitFor(() => expect(output).toContain("listening"), 15_000);
  return { child, output: () => output };
}

/** The table that was printed last. */
function lastTable(output: string): string {
  return output.slice(output.lastIndexOf("┌"));
}

describe("the examples", () => {
  test("table prints what happened to a task", async () => {
    const address = temporaryAddress();
    const { child, output } = await example("table", "--listen", address);
    await using publisher = createPublisher(address, { namespace: "default" });
    await publisher.publish("/tasks/start", TaskStartSchema, { containerId: "web", pid: 4242 });
    await publisher.publish("/tasks/exit", TaskExitSchema, {
      containerId: "web",
      id: "web",
      exitStatus: 137,
    });
    await vi.waitFor(() => expect(output()).toMatch(/web.*default.*\/tasks\/exit.*4242.*137/), 5000);
    // Another namespace has the id, too. A row goes with its task, not with an exec in it.
    await using other = createPublisher(address, { namespace: "k8s.io" });
    await other.publish("/tasks/start", TaskStartSchema, { containerId: "web", pid: 7 });
    await vi.waitFor(() => expect(lastTable(output())).toMatch(/default[^]*137[^]*k8s\.io/), 5000);
    await publisher.publish("/tasks/delete", TaskDeleteSchema, { containerId: "web", id: "exec" });
    await vi.waitFor(() => expect(lastTable(output())).toMatch(/default.*\/tasks\/delete/), 5000);
    await publisher.publish("/tasks/delete", TaskDeleteSchema, { containerId: "web" });
    await vi.waitFor(() => expect(lastTable(output())).not.toContain("default"), 5000);
    expect(lastTable(output())).toContain("k8s.io");
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    expect(await exited).toEqual([0, null]);
  });

  test("sqlite loses no event and writes none twice, even if it is killed again and again", async () => {
    const [address, database] = [temporaryAddress(), temporaryPath(".db")];
    const publisher = createPublisher(address, { namespace: "default" });
    const COUNT = 2000;
    const published: Promise<void>[] = [];
    for (let exitStatus = 0; exitStatus < COUNT; exitStatus++) {
      published.push(publisher.publish("/tasks/exit", TaskExitSchema, { containerId: "c", exitStatus }));
    }
    for (const wanted of [300, 700]) {
      const { child } = await example("sqlite", "--listen", address, "--database", database);
      await vi.waitFor(() => expect(COUNT - publisher.queuedEvents).toBeGreaterThan(wanted), 10_000);
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    }
    await example("sqlite", "--listen", address, "--database", database);
    await Promise.all(published);
    await publisher.close();
    const rows = await openDatabase(database);
    expect(rows.prepare("SELECT count(*) AS count FROM events").get()).toMatchObject({ count: COUNT });
    rows.close();
  }, 60_000);
});
