import { execFileSync } from "node:child_process";
import { type DescField, type DescFile, createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { type FileDescriptorProto, FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { file_nri_pkg_api_v1alpha1_nri as own } from "containerd-shim-protos/nri";
import { expect, it } from "vitest";
import { describeWithGo } from "../helpers/go-peer.js";
import { nriPeer, withNriPeer } from "./peer.js";

/** What a file puts on the wire, a line for each name, in alphabetical order. */
function wire(file: DescFile): string[] {
  const lines: string[] = [];
  const nested = (messages: DescFile["messages"]): DescFile["messages"] =>
    messages.flatMap((message) => [message, ...nested(message.nestedMessages)]);
  const messages = nested(file.messages);
  for (const message of messages) {
    lines.push(`message ${message.typeName}`);
    for (const field of message.fields)
      lines.push(`${message.typeName}.${field.name} = ${field.number}: ${typeOf(field)}`);
  }
  for (const desc of [...file.enums, ...messages.flatMap(({ nestedEnums }) => nestedEnums)]) {
    for (const { name, number } of desc.values) lines.push(`${desc.typeName}.${name} = ${number}`);
  }
  for (const { typeName, methods } of file.services) {
    for (const { name, input, output, methodKind } of methods)
      lines.push(`${typeName}/${name}: ${methodKind} ${input.typeName} ${output.typeName}`);
  }
  return lines.toSorted();
}

function typeOf(field: DescField): string {
  switch (field.fieldKind) {
    case "scalar":
      return `scalar ${field.scalar}`;
    case "message":
      return field.message.typeName;
    case "enum":
      return field.enum.typeName;
    case "list":
      return `list ${field.listKind} ${field.scalar ?? field.message?.typeName ?? field.enum?.typeName}`;
    case "map":
      return `map ${field.mapKey} ${field.mapKind} ${field.scalar ?? field.message?.typeName ?? field.enum?.typeName}`;
  }
}

describeWithGo("the description of NRI", () => {
  withNriPeer();

  it("has every name, number and type of the Go module, and no other", () => {
    const proto: FileDescriptorProto = fromBinary(
      FileDescriptorProtoSchema,
      execFileSync(nriPeer.path, ["descriptor"]),
    );
    const theirs = createFileRegistry(proto, () => undefined).getFile(proto.name);
    if (theirs === undefined) throw new Error("the peer wrote no descriptor");
    const lines = wire(theirs);
    expect(lines.length).toBeGreaterThan(400);
    expect(wire(own)).toEqual(lines);
  });
});
