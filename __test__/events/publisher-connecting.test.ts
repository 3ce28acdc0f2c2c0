import { rmSync } from "node:fs";
import { createConnection } from "node:net";
import { Code } from "containerd-shim-protos";
import { TaskExitSchema } from "containerd-shim-protos/events";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { failure } from "../helpers/outcome.js";
import { RawServer } from "../helpers/raw-peer.js";
import { Script } from "../helpers/script.js";
import { upTo } from "./exits.js";
import { closeAll, publisherTo, sinkAt } from "./sinks.js";

afterEach(closeAll);

describe("a publisher whose server hangs", () => {
  test("delivers to the one that listens in its place", async () => {
    await using hung = await RawServer.listen();
    const publisher = publisherTo(hung.address, { timeoutMs: 100, retryForMs: 20_000 });
    const published = publisher.publish("/tasks/exit", TaskExitSchema, { containerId: "web" });
    await (await hung.accept()).nextRequest();
    rmSync(hung.address.replace("unix://", ""));
    const { events } = sinkAt({}, hung.address);
    const { value } = await events[Symbol.asyncIterator]().next();
    expect(value).toMatchObject({ topic: "/tasks/exit" });
    await published;
  });
});

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
