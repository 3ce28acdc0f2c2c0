import { Buffer } from "node:buffer";
import type { DescFile } from "@bufbuild/protobuf";
import type { DescriptorProto, FileDescriptorProto } from "@bufbuild/protobuf/wkt";
import { protobufEs } from "#protobuf";
import { camelCase } from "./names.js";

/** Decodes the descriptor of a file with protobuf-es, with what its generated code leaves out. */
export function decodeProto(base64: string, dependencies: readonly DescFile[]): FileDescriptorProto {
  const { fromBinary, FileDescriptorProtoSchema } = protobufEs();
  const proto = fromBinary(FileDescriptorProtoSchema, new Uint8Array(Buffer.from(base64, "base64")));
  proto.dependency = dependencies.map(({ name }) => `${name}.proto`);
  proto.messageType.forEach(restoreJsonNames);
  return proto;
}

/** Generated code leaves out JSON names that follow from the field's name. */
function restoreJsonNames({ field, nestedType }: DescriptorProto): void {
  for (const each of field) if (!Object.hasOwn(each, "jsonName")) each.jsonName = camelCase(each.name);
  nestedType.forEach(restoreJsonNames);
}
