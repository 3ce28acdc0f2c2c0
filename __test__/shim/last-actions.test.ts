import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect, createClient } from "containerd-shim-protos";
import { listenEvents, TASK_OOM_EVENT_TOPIC } from "containerd-shim-protos/events";
import { createTestShim } from "containerd-shim-protos/shim/testing";
import { Task } from "containerd-shim-protos/task/v3";
import { describe, expect, test, vi } from "vitest";
import { ShimHost } from "./shim.js";

describe("what is to be done at shutdown", () => {
  test.each(["SIGTERM", "Shutdown"] as const)(
    "is done after %s while requests are served, and before the shim ends",
    async (how) => {
      using host = new ShimHost({ does: "stops" });
      await using events = listenEvents(`unix://${host.env["TTRPC_ADDRESS"]}`);
      const address = await host.address();
      const [pid = 0] = host.processes();
      await using connection = await connect(address);
      const task = createClient(Task, connection);
      if (how === "SIGTERM") process.kill(pid, how);
      else await task.shutdown({});
      await vi.waitFor(() => expect(existsSync(join(host.bundle, "stopping"))).toBe(true), 10_000);
      expect(await task.connect({})).toMatchObject({ shimPid: pid });
      // A container of the same name gets a shim of its own.
      expect(await host.address()).toBe(address);
      await using other = await connect(address);
      const { shimPid } = await createClient(Task, other).connect({});
      expect(shimPid).not.toBe(pid);
      process.kill(shimPid, "SIGKILL");
      writeFileSync(join(host.bundle, "stopped"), "");
      for await (const { topic } of events) {
        expect(topic).toBe(TASK_OOM_EVENT_TOPIC);
        break;
      }
      await vi.waitFor(() => expect(host.processes()).toEqual([]), 10_000);
    },
  );

  test("does not keep a shim alive if it never ends", async () => {
    using host = new ShimHost({ does: "hangs" });
    await host.address();
    for (const pid of host.processes()) process.kill(pid, "SIGTERM");
    await vi.waitFor(() => expect(host.processes()).toEqual([]), 15_000);
  });

  test("is done once when a test closes its shim, whenever it was registered, and is logged if it fails", async () => {
    let count = 0;
    const shim = await createTestShim(({ onShutdown }) => {
      onShutdown(() => Promise.reject(new Error("the machine does not power off")));
      // As the handler of a request does that comes meanwhile.
      onShutdown(() => onShutdown(() => void count++));
      expect(() => onShutdown(5 as never)).toThrow("action must be a function, not number");
      return {};
    });
    await Promise.all([shim.close(), shim.close()]);
    expect(count).toBe(1);
    const { level, message, fields } = shim.log[0]!;
    expect({ level, message }).toEqual({ level: "error", message: "what was to be done at shutdown failed" });
    expect(fields["error"]).toContain("the machine does not power off");
  });
});
