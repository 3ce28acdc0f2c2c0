import { createConnection } from "node:net";
import { Code } from "containerd-shim-protos";
import { TaskExitSchema } from "containerd-shim-protos/events";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { failure } from "../helpers/outcome.js";
import { Script } from "../helpers/script.js";
import { upTo } from "./exits.js";
import { closeAll, publisherTo } from "./sinks.js";

afterEach(closeAll);

describe("a publisher whose server does not even take a connection", () => {
  test("gives an event up on time, and an attempt to connect when it is closed", async () => {
    // The process does not accept, so the kernel's queue fills, and then no attempt ends.
    await using stuck = new Script(`
      import { createServer } from "node:net";
      const server = createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
        process.stdout.write(server.address().port + "\\n", () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
      });
    `);
    const port = Number(await stuck.nextLine());
    const others = upTo(6).map(() => createConnection(port, "127.0.0.1").on("error", () => undefined));
    onTestFinished(() => others.forEach((other) => other.destroy()));
    await vi.waitFor(() => expect(others.some(({ connecting }) => !connecting)).toBe(true));
    const publisher = publisherTo(`tcp://127.0.0.1:${port}`, { retryForMs: 200 });
    const error = await failure(publisher.publish("/tasks/exit", TaskExitSchema, {}));
    expect(error).toMatchObject({ code: Code.DeadlineExceeded });
    expect(error.message).toContain("has not ended");
    await publisher.close();
  });
});
