import { create, createFileRegistry, type DescService } from "@bufbuild/protobuf";
import type { GenService } from "@bufbuild/protobuf/codegenv2";
import {
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  type TimestampSchema,
} from "@bufbuild/protobuf/wkt";
import { Code, connect, createClient, createServer, type Server } from "containerd-shim-protos";
import { StateRequestSchema, Task } from "containerd-shim-protos/task/v3";
import { describe, expect, test } from "vitest";
import { failure } from "../helpers/outcome.js";
import { Script } from "../helpers/script.js";
import { temporaryAddress } from "../helpers/temp.js";

interface Unary {
  readonly methodKind: "unary";
  readonly input: typeof TimestampSchema;
  readonly output: typeof TimestampSchema;
}

/** TypeScript cannot type the other methods: every object must have those of Object. */
type Methods = Record<"ping" | "then", Unary>;

/** A service whose methods have the names of properties that every object, or every promise, has. */
const Names = ((): GenService<Methods> => {
  const type = ".names.Time";
  const methods = ["HasOwnProperty", "ToLocaleString", "IsPrototypeOf", "Ping", "Then", "__proto__", "Name"];
  const file = create(FileDescriptorProtoSchema, {
    name: "names.proto",
    package: "names",
    syntax: "proto3",
    messageType: [
      { name: "Time", field: [{ name: "nanos", jsonName: "nanos", number: 2, type: 5, label: 1 }] },
    ],
    service: [
      { name: "Names", method: methods.map((name) => ({ name, inputType: type, outputType: type })) },
    ],
  });
  const found: DescService | undefined = createFileRegistry(
    create(FileDescriptorSetSchema, { file: [file] }),
  ).getService("names.Names");
  return found as unknown as GenService<Methods>;
})();

async function connected(server: Server) {
  const connection = await connect(await server.listen(temporaryAddress()));
  const client = createClient(Names, connection);
  const call = client as unknown as Readonly<Record<string, typeof client.ping>>;
  return { connection, client, call };
}

describe("an RPC with the name of a property that every object has", () => {
  test.each(["hasOwnProperty", "toLocaleString", "isPrototypeOf"])(
    "is not served by that property: %s",
    async (name) => {
      await using server = createServer().add(Names, { ping: (time) => time });
      const { connection, call } = await connected(server);
      await using _ = connection;
      expect(await failure(call[name]!({ nanos: 5 }))).toMatchObject({ code: Code.Unimplemented });
    },
  );

  class Handlers {
    hasOwnProperty(): never {
      return { nanos: 7 } as never;
    }
  }

  test.each([
    ["an own handler", { hasOwnProperty: () => ({ nanos: 7 }) }],
    ["a method of a class", new Handlers()],
    ["a method of a class's base", new (class extends Handlers {})()],
  ])("is served by %s", async (_, handlers) => {
    await using server = createServer().add(Names, handlers as never);
    const { connection, call } = await connected(server);
    await using __ = connection;
    expect(await call["hasOwnProperty"]!({})).toMatchObject({ nanos: 7 });
  });
});

test("a client of a service with a method Then can be returned from an async function", async () => {
  // oxlint-disable-next-line unicorn/no-thenable
  const handlers = { ping: () => ({ nanos: 5 }), then: () => ({ nanos: 9 }) };
  await using server = createServer().add(Names, handlers);
  const { connection } = await connected(server);
  await using _ = connection;
  const make = async () => createClient(Names, connection);
  const client = await make();
  expect(await client.ping({})).toMatchObject({ nanos: 5 });
  expect(await client.then$({})).toMatchObject({ nanos: 9 });
});

test("an RPC called __proto__ is called like any other, and changes no client", async () => {
  const handlers = Object.fromEntries(
    ["__proto__", "name"].map((name) => [name, () => ({ nanos: name.length })]),
  );
  await using server = createServer().add(Names, handlers);
  const { connection, client, call } = await connected(server);
  await using _ = connection;
  expect(Object.getPrototypeOf(client)).toBe(Object.prototype);
  expect(await call["__proto__"]!({})).toMatchObject({ nanos: 9 });
  expect(await call["name"]!({})).toMatchObject({ nanos: 4 });
});

test("a property that a library adds to every object is no field, and no option", async () => {
  const program = `
    import { create } from "@bufbuild/protobuf";
    import { StateRequestSchema, Task } from "containerd-shim-protos/task/v3";
    Object.prototype.extend = function () {};
    Object.prototype.execId = function () {};
    const server = product.createServer().add(Task, { state: ({ id, execId }) => ({ id: id + execId }) });
    const connection = await product.connect(await server.listen(address));
    const task = product.createClient(Task, connection);
    const options = { timeoutMs: 5000, metadata: { a: "b" } };
    for (let round = 0; round < 600; round++) {
      for (const request of [{ id: "a" }, Object.create({ id: "a" }), create(StateRequestSchema, { id: "a", execId: "" })]) {
        const { id } = await task.state(request, options);
        if (id !== "a") say(id);
      }
    }
    say(await task.state({ id: "a", extend: 5 }).catch((error) => error.message));
    say(await task.state(Object.create({ ids: "a" })).catch((error) => error.message));
    say(String(product.packAny(StateRequestSchema, { id: "a" }).value.length));
    await connection.close();
    await server.close();
  `;
  await using script = new Script(program, temporaryAddress());
  expect(await script.rest()).toEqual([
    `${Task.typeName}/State: extend is not a field of ${StateRequestSchema.typeName}`,
    `${Task.typeName}/State: ids is not a field of ${StateRequestSchema.typeName}`,
    "3",
  ]);
});
