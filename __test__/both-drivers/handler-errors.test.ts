import { create } from "@bufbuild/protobuf";
import {
  Code,
  connect,
  createClient,
  createServer,
  packAny,
  TtrpcError,
  type TtrpcErrorOptions,
  unpackAny,
} from "containerd-shim-protos";
import { TaskStartSchema } from "containerd-shim-protos/events";
import { Task } from "containerd-shim-protos/task/v3";
import { describe, expect, test } from "vitest";
import { bytes, failure, text } from "../helpers/outcome.js";
import { temporaryAddress } from "../helpers/temp.js";

const EMPTY = new Uint8Array();
const packed = packAny(TaskStartSchema, { containerId: "web", pid: 7 });

/** Calls a handler that throws this. The server must continue. */
async function thrownBy(thrown: unknown): Promise<TtrpcError> {
  await using server = createServer().addRaw("a.B", {
    Fail: {
      kind: "unary",
      handle() {
        throw thrown;
      },
    },
    Next: { kind: "unary", handle: () => bytes("next") },
  });
  await using connection = await connect(await server.listen(temporaryAddress()));
  // Without an answer the call would hang: its deadline ends it.
  const error = await failure(connection.unary("a.B", "Fail", EMPTY, { timeoutMs: 2000 }));
  expect(text(await connection.unary("a.B", "Next", EMPTY))).toBe("next");
  return error;
}

describe("what a handler throws reaches the caller", () => {
  test("as a TtrpcError with code, message and details, but without its cause", async () => {
    const details = [packed];
    const error = await thrownBy(
      new TtrpcError("not here: ü€😀", Code.NotFound, { details, cause: new Error("secret") }),
    );
    expect(error).toMatchObject({ name: "TtrpcError", code: Code.NotFound, rawMessage: "not here: ü€😀" });
    expect(error.details).toEqual(details);
    expect(unpackAny(error.details[0]!, TaskStartSchema)).toMatchObject({ containerId: "web", pid: 7 });
    expect(error.cause).toBeUndefined();
  });

  test.each([99, -1, 2 ** 31 - 1])("with the number %i as its code", async (code) => {
    expect(await thrownBy(new TtrpcError("strange", code as Code))).toMatchObject({
      code,
      rawMessage: "strange",
    });
  });

  test("with 1 024 of its details, as many as a client takes, and a note of how many there were", async () => {
    const details = Array.from({ length: 1500 }, () => packed);
    const error = await thrownBy(new TtrpcError("many", Code.DataLoss, { details }));
    expect(error).toMatchObject({
      code: Code.DataLoss,
      rawMessage: "many (too large to be sent: 476 of 1500 details)",
    });
    expect(error.details).toHaveLength(1024);
  });

  test("with details of a megabyte", async () => {
    const details = [
      { typeUrl: "a.B", value: new Uint8Array(1 << 20).fill(1), $typeName: "google.protobuf.Any" },
    ];
    const error = await thrownBy(new TtrpcError("large", Code.DataLoss, { details: details as never }));
    expect(error.code).toBe(Code.DataLoss);
    expect(error.details[0]?.value).toHaveLength(1 << 20);
  });

  test("with its code and the beginning of its text if it exceeds the size of a message", async () => {
    const error = await thrownBy(new TtrpcError("x".repeat(4 << 20), Code.NotFound));
    expect(error.code).toBe(Code.NotFound);
    expect(error.rawMessage).toMatch(/^x{4000000,}… \(cut here: the text has 4194304 bytes\)$/);
  });

  test.each([
    ["an Error", new RangeError("beyond"), "beyond"],
    ["an Error without a message", new Error(), ""],
    ["a text", "thrown text", "thrown text"],
    ["undefined", undefined, "undefined"],
    ["a plain object", { toString: (): string => "an object" }, "an object"],
    ["a plain object with a message", { code: Code.NotFound, message: "gone" }, "gone"],
    ["a message with a lone surrogate", new Error("bad \ud800"), "bad \ufffd"],
  ])("as Unknown if it is %s", async (_, thrown, message) => {
    expect(await thrownBy(thrown)).toMatchObject({ code: Code.Unknown, rawMessage: message, details: [] });
  });
});

describe("an error that cannot be sent", () => {
  const wrongCode = (code: string) => `the code of an error must be a status code other than 0, not ${code}`;
  test.each([
    ["the code 0, which means success", 0, {}, wrongCode("0")],
    ["a code that is not a number", "NotFound", {}, wrongCode("NotFound")],
    ["a code that is not an integer", 5.5, {}, wrongCode("5.5")],
    ["a code beyond 32 bits", 2 ** 31, {}, wrongCode("2147483648")],
    ["a message that was not packed", 5, { details: [create(TaskStartSchema)] }, "details[0]"],
    ["a detail without a value", 5, { details: [packed, { typeUrl: "a.B" }] }, "details[1]"],
    ["a detail whose value is text", 5, { details: [{ typeUrl: "a.B", value: "b" }] }, "details[0]"],
  ])("with %s is refused where it is created", (_, code, options, message) => {
    const make = () => new TtrpcError("wrong", code as Code, options as TtrpcErrorOptions);
    expect(make).toThrow(TypeError);
    expect(make).toThrow(message);
  });

  test.each([
    ["an object without a text", () => Object.create(null) as object],
    ["an object whose text throws", () => ({ toString: null })],
    ["an Error whose message is not text", () => Object.assign(new Error("a"), { message: 5 })],
    [
      "an Error whose message is an object",
      () => Object.assign(new Error("a"), { message: Object.create(null) }),
    ],
    ["a status whose code was changed to 0", () => Object.assign(new TtrpcError("a", 5), { code: 0 })],
    [
      "a status whose code was changed to undefined",
      () => Object.assign(new TtrpcError("a", 5), { code: undefined }),
    ],
    [
      "a status whose message was changed to another type",
      () => Object.assign(new TtrpcError("a", 5), { message: 5 }),
    ],
    [
      "a status whose details were changed to wrong ones",
      () => Object.assign(new TtrpcError("a", 5), { details: [{}] }),
    ],
    [
      "a status whose details were changed to undefined",
      () => Object.assign(new TtrpcError("a", 5), { details: undefined }),
    ],
  ])("such as %s still reaches the caller as an error, and the server continues", async (_, make) => {
    const error = await thrownBy(make());
    expect(error.code).not.toBe(Code.DeadlineExceeded);
    expect(error.code).not.toBe(0);
  });

  test.each([
    [
      "were transferred",
      "details[0].value must not be detached or outside of its buffer",
      ({ details: [detail] }: TtrpcError) => {
        const buffer = detail?.value.buffer as ArrayBuffer;
        structuredClone(buffer, { transfer: [buffer] });
      },
    ],
    [
      "are no Anys any more",
      "details[0] must be an Any, not object: pack messages with packAny",
      ({ details }: TtrpcError) => details.splice(0, 1, {} as never),
    ],
  ])("because its details %s keeps its code and its text, which says so", async (_, fault, change) => {
    const details = [packAny(TaskStartSchema, { containerId: "web" })];
    const thrown = new TtrpcError("gone", Code.NotFound, { details });
    change(thrown);
    const error = await thrownBy(thrown);
    expect(error).toMatchObject({
      code: Code.NotFound,
      rawMessage: `gone (its details cannot be sent: ${fault})`,
      details: [],
    });
  });
});

describe("a handler", () => {
  test("may be a plain function or a method of a class, and may use this", async () => {
    class Shim {
      readonly #pid = 77;
      connect() {
        return { shimPid: this.#pid };
      }
      helper() {}
    }
    await using server = createServer().add(Task, new Shim());
    await using connection = await connect(await server.listen(temporaryAddress()));
    await expect(createClient(Task, connection).connect({})).resolves.toMatchObject({ shimPid: 77 });
  });

  test("owns the payload that it gets, for as long as it keeps it", async () => {
    const kept: Uint8Array[] = [];
    await using server = createServer().addRaw("a.B", {
      Keep: {
        kind: "unary",
        handle(payload) {
          kept.push(payload);
          return payload;
        },
      },
    });
    await using connection = await connect(await server.listen(temporaryAddress()));
    const calls = Array.from({ length: 100 }, (_, index) =>
      connection.unary("a.B", "Keep", bytes(`${index}`)),
    );
    const replies = await Promise.all(calls);
    const expected = calls.map((_, index) => `${index}`);
    expect(replies.map(text)).toEqual(expected);
    expect(kept.map(text)).toEqual(expected);
  });

  test("may call its own server and others while it runs", async () => {
    await using inner = createServer().addRaw("a.B", { C: { kind: "unary", handle: () => bytes("inner") } });
    await using toInner = await connect(await inner.listen(temporaryAddress()));
    await using outer = createServer().addRaw("a.B", {
      C: { kind: "unary", handle: () => toInner.unary("a.B", "C", EMPTY) },
    });
    await using connection = await connect(await outer.listen(temporaryAddress()));
    expect(text(await connection.unary("a.B", "C", EMPTY))).toBe("inner");
  });
});
