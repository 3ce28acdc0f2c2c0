import type { DescEnum, DescMessage } from "@bufbuild/protobuf";
import type { EnumDescriptorProto } from "@bufbuild/protobuf/wkt";
import type { Fields } from "./bytes.js";
import { propertyName, sharedPrefix } from "./names.js";
import { fullName, type OwnFile } from "./types.js";

/** Makes the descriptor of an enum from an EnumDescriptorProto. `proto` gives that as protobuf-es decodes it. */
export function enumOf(
  context: OwnFile,
  fields: Fields,
  parent: DescMessage | undefined,
  proto: () => EnumDescriptorProto,
): DescEnum {
  const name = fields.string(1);
  const typeName = fullName(context, parent, name);
  const values = fields.messages(2);
  const prefix = sharedPrefix(
    name,
    values.map((value) => value.string(1)),
  );
  const desc: DescEnum = {
    kind: "enum",
    get proto() {
      return proto();
    },
    deprecated: fields.option(3, 3) === 1,
    file: context.file,
    parent,
    open: true,
    name,
    typeName,
    value: {},
    values: [],
    sharedPrefix: prefix,
    toString: () => `enum ${typeName}`,
  };
  values.forEach((each, index) => {
    const valueName = each.string(1);
    const number = each.integer(2) ?? 0;
    const value: DescEnum["values"][number] = {
      kind: "enum_value",
      get proto() {
        return proto().value[index]!;
      },
      deprecated: each.option(3, 1) === 1,
      parent: desc,
      name: valueName,
      localName: propertyName(prefix === undefined ? valueName : valueName.slice(prefix.length)),
      number,
      jsonName: valueName,
      toString: () => `enum value ${typeName}.${valueName}`,
    };
    desc.values.push(value);
    // Of several values with one number, the first counts.
    desc.value[number] ??= value;
  });
  context.types.set(typeName, desc);
  return desc;
}
