import type { DescField, DescMessage, DescOneof } from "@bufbuild/protobuf";
import type { DescriptorProto } from "@bufbuild/protobuf/wkt";
import type { Fields } from "./bytes.js";
import { enumOf } from "./enum.js";
import { fieldOf } from "./field.js";
import { camelCase, propertyName } from "./names.js";
import { fullName, type OwnFile } from "./types.js";

type Members = Pick<DescMessage, "fields" | "field" | "oneofs" | "members">;

/**
 * Makes the descriptor of a message from a DescriptorProto; its fields are read at the first use of one of them. `proto`
 * gives the DescriptorProto as protobuf-es decodes it.
 */
export function messageOf(
  context: OwnFile,
  fields: Fields,
  parent: DescMessage | undefined,
  proto: () => DescriptorProto,
): DescMessage {
  const name = fields.string(1);
  const typeName = fullName(context, parent, name);
  let known: Members | undefined;
  const members = () => (known ??= membersOf(context, fields, desc));
  const desc: DescMessage = {
    kind: "message",
    get proto() {
      return proto();
    },
    deprecated: fields.option(7, 3) === 1,
    file: context.file,
    parent,
    name,
    typeName,
    get fields() {
      return members().fields;
    },
    get field() {
      return members().field;
    },
    get oneofs() {
      return members().oneofs;
    },
    get members() {
      return members().members;
    },
    nestedEnums: [],
    nestedMessages: [],
    nestedExtensions: [],
    toString: () => `message ${typeName}`,
  };
  const isMapEntry = fields.option(7, 7) === 1;
  if (isMapEntry) context.mapEntries.set(typeName, desc);
  else context.types.set(typeName, desc);
  fields.messages(4).forEach((each, index) => {
    desc.nestedEnums.push(enumOf(context, each, desc, () => proto().enumType[index]!));
  });
  fields.messages(3).forEach((each, index) => {
    const nested = messageOf(context, each, desc, () => proto().nestedType[index]!);
    if (!context.mapEntries.has(nested.typeName)) desc.nestedMessages.push(nested);
  });
  return desc;
}

function membersOf(context: OwnFile, fields: Fields, parent: DescMessage): Members {
  const oneofs = fields.messages(8).map((each, index) => oneofOf(each.string(1), index, parent));
  const known: Members = { fields: [], field: {}, oneofs: [], members: [] };
  fields.messages(2).forEach((each, index) => {
    const oneof = oneofIn(each, oneofs);
    const field: DescField = fieldOf(context, each, parent, oneof, () => parent.proto.field[index]!);
    known.fields.push(field);
    known.field[field.localName] = field;
    if (oneof === undefined) known.members.push(field);
    else if (oneof.fields.push(field) === 1) known.members.push(oneof);
  });
  // One that was made for an optional field alone has no fields.
  known.oneofs.push(...oneofs.filter((oneof) => oneof.fields.length > 0));
  return known;
}

/** The oneof of a field. protoc makes one for an optional field too, which does not count. */
function oneofIn(field: Fields, oneofs: readonly DescOneof[]): DescOneof | undefined {
  const index = field.integer(9);
  return index === undefined || field.integer(17) === 1 ? undefined : oneofs[index];
}

function oneofOf(name: string, index: number, parent: DescMessage): DescOneof {
  return {
    kind: "oneof",
    get proto() {
      return parent.proto.oneofDecl[index]!;
    },
    deprecated: false,
    parent,
    fields: [],
    name,
    localName: propertyName(camelCase(name)),
    toString: () => `oneof ${parent.typeName}.${name}`,
  };
}
