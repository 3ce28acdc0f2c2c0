import { create, createRegistry, type DescFile, toBinary } from "@bufbuild/protobuf";
import { fileDesc } from "@bufbuild/protobuf/codegenv2";
import {
  FileDescriptorProtoSchema,
  file_google_protobuf_any,
  file_google_protobuf_empty,
  file_google_protobuf_timestamp,
} from "@bufbuild/protobuf/wkt";
import { registry } from "containerd-shim-protos/registry";
import { fieldpath, fieldpath_all } from "containerd-shim-protos/types";
import { Task } from "containerd-shim-protos/task/v3";
import { describe, expect, it } from "vitest";

/** Each file of the package, with what its types import. */
const files = new Map<string, DescFile>();
for (const type of registry) add(type.file);

function add(file: DescFile): void {
  if (file.name.startsWith("google/protobuf/descriptor") || files.has(file.name)) return;
  file.dependencies.forEach(add);
  files.set(file.name, file);
}

/** The same files, made by protobuf-es. */
const theirs = new Map<string, DescFile>();
for (const [name, file] of files) {
  const bytes = Buffer.from(toBinary(FileDescriptorProtoSchema, file.proto)).toString("base64");
  theirs.set(
    name,
    fileDesc(
      bytes,
      file.dependencies.map((each) => theirs.get(each.name) ?? each),
    ),
  );
}

/** Where two descriptors differ first; undefined if they are alike. They hold each other, so pairs are visited once. */
function difference(
  ours: unknown,
  other: unknown,
  path: string,
  seen: Map<object, object>,
): string | undefined {
  if (typeof ours === "function" && typeof other === "function") {
    const [mine, its] = [ours, other].map((each) => String((each as () => unknown)()));
    return mine === its ? undefined : `${path}(): ${mine} and ${its}`;
  }
  if (typeof ours !== "object" || typeof other !== "object" || ours === null || other === null) {
    return Object.is(ours, other) ? undefined : `${path}: ${String(ours)} and ${String(other)}`;
  }
  if (seen.get(ours) === other || ours === other) return undefined;
  seen.set(ours, other);
  const names = Object.keys(ours).toSorted();
  const others = Object.keys(other).toSorted();
  if (names.join() !== others.join()) return `${path}: ${names.join()} and ${others.join()}`;
  for (const name of names) {
    const [mine, its] = [ours, other].map((each) => {
      const value = (each as Record<string, unknown>)[name];
      // Functions of descriptors use `this`.
      return typeof value === "function" ? (value as () => unknown).bind(each) : value;
    });
    const found = difference(mine, its, `${path}.${name}`, seen);
    if (found !== undefined) return found;
  }
  return undefined;
}

describe("the descriptors of this package", () => {
  it("are of every file", () => {
    expect(files.size).toBeGreaterThan(25);
  });

  it.each([...files.keys()])("are those that protobuf-es makes: %s", (name) => {
    expect(difference(files.get(name), theirs.get(name), name, new Map())).toBeUndefined();
  });

  it.each([file_google_protobuf_any, file_google_protobuf_empty, file_google_protobuf_timestamp])(
    "are those that protobuf-es has of google.protobuf: $name",
    (file) => {
      expect(difference(files.get(file.name), file, file.name, new Map())).toBeUndefined();
    },
  );

  it("list their properties, and can be spread", () => {
    const { methods, typeName, proto } = { ...Task };
    expect(methods).toBe(Task.methods);
    expect(typeName).toBe("containerd.task.v3.Task");
    expect(proto.name).toBe("Task");
    const { fields } = { ...Task.method.state.input };
    expect(fields.map(({ name }) => name)).toEqual(["id", "exec_id"]);
  });

  it("make registries", () => {
    const made = createRegistry(Task, Task.file, fieldpath, fieldpath_all);
    expect(made.getService(Task.typeName)).toBe(Task);
    expect(made.getMessage("containerd.task.v3.StateRequest")).toBe(Task.method.state.input);
    expect(made.getExtension("containerd.types.fieldpath")?.extendee.typeName).toBe(
      "google.protobuf.MessageOptions",
    );
  });

  it("make messages with protobuf-es", () => {
    expect(create(Task.method.state.output, { id: "web" })).toMatchObject({ id: "web", pid: 0 });
  });
});
