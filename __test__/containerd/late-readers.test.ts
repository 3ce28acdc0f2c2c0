import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { type Client, connect, type Connection } from "containerd-shim-protos";
import type { Task } from "containerd-shim-protos/task/v3";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Containerd } from "./containerd.js";
import { execScript, showLogOfFailures, taskClient } from "./direct.js";
import { describeWithEach } from "./releases.js";
import { RUNC, ShimUser } from "./shims.js";
import { makeFifo } from "../helpers/shell.js";

/** containerd's client for Go stops reading when it hears of an exit. containerd's own shim does not wait for it. */
describeWithEach("clients of shim-runc that are late to read", (release) => {
  let containerd: Containerd;
  let connection: Connection;
  let task: Client<typeof Task>;
  let count = 0;

  beforeAll(async () => {
    containerd = await Containerd.start({ release });
    await new ShimUser(containerd, RUNC).runDetached("box", ["/bin/sleep", "100000"]);
    connection = await connect(containerd.shimAddress("box"));
    task = taskClient(connection, release);
  });

  afterAll(async () => {
    await connection?.close();
    await containerd?.stop();
  });

  showLogOfFailures(() => containerd);

  /** An exec that prints a line into a fifo. */
  async function echo(script: string, terminal = false) {
    const name = { id: "box", execId: `exec-${++count}` };
    const stdout = makeFifo(join(containerd.folder, `fifo-${count}`));
    const exec = await execScript(containerd, task, name, script, { stdout, terminal });
    return { ...exec, stdout };
  }

  test.each([false, true])(
    "have read everything when they hear of the exit (terminal: %s)",
    async (terminal) => {
      const { name, stdout, exited, start } = await echo("echo words", terminal);
      const reader = await open(stdout, constants.O_RDWR | constants.O_NONBLOCK);
      await start();
      const read = vi.waitFor(async () => (await reader.read()).bytesRead, { interval: 60, timeout: 20_000 });
      const first = await Promise.race([read.then(() => "read"), exited.then(() => "exit")]);
      await read;
      await reader.close();
      await task.delete(name);
      expect(first).toBe("read");
    },
  );

  test("hear of the exit though they do not read", async () => {
    const { name, exited, start } = await echo("echo words; exit 7");
    await start();
    expect((await exited).exitStatus).toBe(7);
    await task.delete(name);
  });

  test("hear of the exit of a process whose streams another one keeps", async () => {
    const { name, stdout, exited, start } = await echo("sleep 1 & echo words; exit 7");
    const reader = await open(stdout, "r+");
    const read = reader.read();
    await start();
    expect((await exited).exitStatus).toBe(7);
    expect((await read).bytesRead).toBe(6);
    await reader.close();
    await task.delete(name);
  });
});
