import { create, createRegistry, isMessage } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { Code, packAny, TtrpcError, unpackAny } from "containerd-shim-protos";
import { TaskExitSchema, TaskOOMSchema, TaskStartSchema } from "containerd-shim-protos/events";
import { expect, test } from "vitest";
import { failureOf } from "../helpers/outcome.js";

test("packAny writes the full name without a prefix", () => {
  const any = packAny(TaskStartSchema, { containerId: "web", pid: 7 });
  expect(any).toEqual(create(AnySchema, { typeUrl: "containerd.events.TaskStart", value: any.value }));
  expect(Buffer.from(any.value).toString("latin1")).toBe("\n\u0003web\u0010\u0007");
});

test("packAny refuses a wrong message by the path of its field", () => {
  expect(() => packAny(TaskStartSchema, { pid: -1 })).toThrow(
    new TypeError("containerd.events.TaskStart: pid must be an unsigned 32-bit integer, not -1"),
  );
});

test.each(["", "/", "type.googleapis.com/", "https://a.example/b/c/"])(
  "unpackAny compares only the last segment: %s",
  (prefix) => {
    const { value } = packAny(TaskStartSchema, { containerId: "web" });
    const any = create(AnySchema, { typeUrl: `${prefix}containerd.events.TaskStart`, value });
    expect(unpackAny(any, TaskStartSchema)).toMatchObject({ containerId: "web" });
    expect(unpackAny(any, TaskExitSchema)).toBeUndefined();
    expect(unpackAny(any, createRegistry(TaskExitSchema, TaskStartSchema))).toMatchObject({
      containerId: "web",
    });
  },
);

test.each(["", "/", "TaskStart", "containerd.events.TaskStart/", "xcontainerd.events.TaskStart"])(
  "unpackAny treats the type %j as another type",
  (typeUrl) => {
    const any = create(AnySchema, { typeUrl });
    expect(unpackAny(any, TaskStartSchema)).toBeUndefined();
    expect(unpackAny(any, createRegistry(TaskStartSchema))).toBeUndefined();
  },
);

test("unpackAny finds the type in a registry", () => {
  const registry = createRegistry(TaskExitSchema, TaskOOMSchema);
  const event = unpackAny(packAny(TaskExitSchema, { id: "web", exitStatus: 137 }), registry);
  expect(isMessage(event, TaskExitSchema) && event.exitStatus).toBe(137);
  expect(unpackAny(packAny(TaskStartSchema, {}), registry)).toBeUndefined();
});

test("unpackAny throws if the type matches but the bytes do not decode", () => {
  const any = create(AnySchema, { typeUrl: TaskExitSchema.typeName, value: new Uint8Array([0x0a, 5]) });
  expect(failureOf(() => unpackAny(any, TaskExitSchema))).toMatchObject({
    code: Code.Internal,
    message: "cannot decode containerd.events.TaskExit: premature EOF",
  });
});

test("an Any whose bytes were transferred is refused, not taken for an empty message", () => {
  const value = new Uint8Array(3);
  structuredClone(value, { transfer: [value.buffer] });
  const any = create(AnySchema, { typeUrl: "containerd.events.TaskStart", value });
  const what = "must not be detached or outside of its buffer";
  expect(() => unpackAny(any, TaskStartSchema)).toThrow(new TypeError(`any.value ${what}`));
  expect(() => packAny(AnySchema, { value })).toThrow(new TypeError(`google.protobuf.Any: value ${what}`));
  expect(() => new TtrpcError("a", Code.NotFound, { details: [any] })).toThrow(
    new TypeError(`details[0].value ${what}`),
  );
});
