import {
  Code,
  connect,
  type Connection,
  createClient,
  createServer,
  type Server,
} from "containerd-shim-protos";
import { Task } from "containerd-shim-protos/task/v3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { failure } from "../helpers/outcome.js";
import { temporaryAddress } from "../helpers/temp.js";

const MIB = 1 << 20;

/** Typed calls whose messages are written into the batch, next to others and with too little room. */
describe("messages in the batch", () => {
  let server: Server;
  let connection: Connection;

  beforeAll(async () => {
    server = createServer().add(Task, {
      state: ({ id }) => ({ id, bundle: id }),
      create: ({ id, options }) => ({ pid: id.length + (options?.value.length ?? 0) }),
      stats: ({ id }) => ({ stats: { typeUrl: id, value: new Uint8Array(100).fill(id.charCodeAt(0)) } }),
      kill: () => ({ pid: -1 }) as object,
    });
    connection = await connect(await server.listen(temporaryAddress()));
  });

  afterAll(async () => {
    await connection?.close();
    await server?.close();
  });

  test("cross in several batches when a tick has more than one batch holds", async () => {
    const task = createClient(Task, connection);
    const sizes = Array.from({ length: 24 }, (_, index) => (index % 4) * MIB * 0.7 + index);
    const replies = await Promise.all(
      sizes.map((size) => task.create({ id: "a", options: { value: new Uint8Array(Math.floor(size)) } })),
    );
    expect(replies.map(({ pid }) => pid)).toEqual(sizes.map((size) => Math.floor(size) + 1));
  });

  test("may have many small parts", async () => {
    const task = createClient(Task, connection);
    const rootfs = Array.from({ length: 60_000 }, (_, index) => ({
      source: `/dev/disk/${index}`,
      options: ["ro"],
    }));
    const calls = Array.from({ length: 6 }, () => task.create({ id: "ab", rootfs }));
    expect((await Promise.all(calls)).map(({ pid }) => pid)).toEqual([2, 2, 2, 2, 2, 2]);
  });

  test.each([
    ["just above the limit", 4 * MIB],
    ["larger than the batch", 6 * MIB],
    ["far larger", 40 * MIB],
  ])("are refused if they are %s", async (_, size) => {
    const task = createClient(Task, connection);
    const value = new Uint8Array(size);
    const error = await failure(task.create({ id: "a", options: { value } }));
    expect(error.code).toBe(Code.ResourceExhausted);
    expect(error.rawMessage).toMatch(/^message length \d+ exceed maximum message size of 4194304$/);
    const reply = await failure(task.state({ id: "x".repeat(2.5 * MIB) }));
    expect(reply.code).toBe(Code.ResourceExhausted);
    expect((await task.state({ id: "next" })).id).toBe("next");
  });

  test("are read before the next batch overwrites them", async () => {
    const task = createClient(Task, connection);
    const ids = Array.from({ length: 200 }, (_, index) => String.fromCharCode(97 + (index % 26)).repeat(10));
    const first = await Promise.all(ids.map((id) => task.stats({ id })));
    await Promise.all(ids.map(() => task.stats({ id: "~" })));
    first.forEach(({ stats }, index) => {
      expect(stats?.typeUrl).toBe(ids[index]);
      expect(stats?.value).toEqual(new Uint8Array(100).fill(ids[index]!.charCodeAt(0)));
    });
  });

  test("that are wrong leave nothing in the batch", async () => {
    const task = createClient(Task, connection);
    const good = task.state({ id: "before" });
    const bad = task.state({ id: "a".repeat(1000), execId: "\ud800" });
    const next = task.state({ id: "after" });
    await expect(bad).rejects.toThrow(
      "containerd.task.v3.Task/State: execId has a lone surrogate, which UTF-8 cannot encode",
    );
    expect([(await good).id, (await next).id]).toEqual(["before", "after"]);
    const error = await failure(task.kill({ id: "a" }));
    expect(error.message).toContain("pid");
  });

  test("whose getter makes a call refuse that call", async () => {
    const task = createClient(Task, connection);
    let inner: Promise<unknown> | undefined;
    const outer = task.state({
      get id() {
        inner ??= task.state({ id: "inner" });
        inner.catch(() => undefined);
        return "outer";
      },
    });
    expect((await outer).id).toBe("outer");
    expect(await failure(inner as Promise<unknown>)).toMatchObject({ code: Code.FailedPrecondition });
    expect((await task.state({ id: "next" })).id).toBe("next");
  });
});
