import diagnostics from "node:diagnostics_channel";
import {
  connectSync,
  createClient,
  createServer,
  createSyncClient,
  packAny,
  TtrpcError,
} from "containerd-shim-protos";
import { createPublisher, TaskCreateSchema } from "containerd-shim-protos/events";
import { Streaming } from "containerd-shim-protos/streaming";
import { Task } from "containerd-shim-protos/task/v3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { collect } from "../helpers/iterables.js";
import { type Pair, pairWith } from "../helpers/pair.js";

let pair: Pair;
beforeAll(async () => {
  pair = await pairWith(createServer().add(Task, { state: ({ id }) => ({ id }) }));
});
afterAll(() => pair[Symbol.asyncDispose]());

const refusalOf = async (call: unknown): Promise<Error> => {
  try {
    await call;
  } catch (error) {
    return error as Error;
  }
  throw new Error("the message was taken");
};

const WRONG = { id: 5 as unknown as string };

describe("a wrong message is refused by an error that names the call and ends its stack in the caller:", () => {
  const calls: Record<string, () => unknown> = {
    async unary() {
      return await createClient(Task, pair.connection).state(WRONG);
    },
    async intercepted() {
      const interceptors = [(next: (call: never) => unknown) => async (call: never) => await next(call)];
      return await createClient(Task, pair.connection, { interceptors: interceptors as never }).state(WRONG);
    },
    async observed() {
      const subscriber = () => undefined;
      diagnostics.subscribe("ttrpc:client:call:start", subscriber);
      try {
        return await createClient(Task, pair.connection).state(WRONG);
      } finally {
        diagnostics.unsubscribe("ttrpc:client:call:start", subscriber);
      }
    },
    async blocking() {
      using connection = connectSync(pair.address);
      return createSyncClient(Task, connection).state(WRONG);
    },
  };

  test.each(Object.keys(calls))("%s", async (kind) => {
    const error = await refusalOf(calls[kind]!());
    expect(error).toBeInstanceOf(TypeError);
    expect(error).toMatchObject({
      message: "containerd.task.v3.Task/State: id must be a string, not number",
      service: "containerd.task.v3.Task",
      method: "State",
      address: pair.address,
    });
    expect(error.stack).toMatch(
      new RegExp(
        `^TypeError: containerd\\.task\\.v3\\.Task/State: id .*\\n(?: {4}at .*\\n)*? {4}at .*${kind}`,
      ),
    );
    expect(error.stack).not.toContain("validate");
  });

  test("a message of a stream", async () => {
    async function reader() {
      const chat = createClient(Streaming, pair.connection).stream([{ typeUrl: 5 as unknown as string }]);
      await collect(chat);
    }
    const error = await refusalOf(reader());
    expect(error).toBeInstanceOf(TypeError);
    expect(error).toMatchObject({
      message: "containerd.services.streaming.v1.Streaming/Stream: typeUrl must be a string, not number",
      method: "Stream",
    });
    expect(error.stack).toContain("reader");
  });
});

describe("a wrong message that no call sends is refused by an error that names its type and ends its stack in the caller:", () => {
  const wrong = { rootfs: [{ type: 5 as unknown as string }] };
  const published = async (options: object, message: object = wrong) => {
    await using publisher = createPublisher(pair.address, { namespace: "default" });
    await publisher.publish("/tasks/create", TaskCreateSchema, message, options);
  };

  test.each<[string, () => unknown, string]>([
    ["packAny", () => packAny(TaskCreateSchema, wrong), "containerd.events.TaskCreate: rootfs[0].type"],
    ["publish", () => published({}), "containerd.events.TaskCreate: rootfs[0].type"],
    ["publish", () => published({ timestamp: { typeUrl: 5 } }, {}), "timestamp.typeUrl is not"],
  ])("%s %s %s", async (_, use, begin) => {
    async function user() {
      await use();
    }
    const error = await refusalOf(user());
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain(begin);
    expect(error.stack).toContain(`TypeError: ${begin}`);
    expect(error.stack).toMatch(/ at .*wrong-messages\.test\.ts/);
    expect(error.stack).not.toMatch(/ at (?:checkMessage|validate|encode)/);
  });
});

test("what a getter of a message throws reaches the caller as it is", async () => {
  const own = new TypeError("mine");
  const { stack } = own;
  const request = Object.defineProperty({}, "id", {
    enumerable: true,
    get() {
      throw own;
    },
  });
  const error = await refusalOf(createClient(Task, pair.connection).state(request));
  expect(error).toBe(own);
  expect(own).toMatchObject({ message: "mine", stack });
  expect(error).not.toHaveProperty("service");
  expect(error).not.toBeInstanceOf(TtrpcError);
});
