import {
  type DescriptorProto,
  type FieldDescriptorProto,
  FieldDescriptorProto_Type as Kind,
} from "@bufbuild/protobuf/wkt";

/** The scalar types, by their names. */
export const SCALARS: ReadonlyMap<string, Kind> = new Map(
  Object.entries({
    double: Kind.DOUBLE,
    float: Kind.FLOAT,
    int32: Kind.INT32,
    int64: Kind.INT64,
    uint32: Kind.UINT32,
    uint64: Kind.UINT64,
    sint32: Kind.SINT32,
    sint64: Kind.SINT64,
    fixed32: Kind.FIXED32,
    fixed64: Kind.FIXED64,
    sfixed32: Kind.SFIXED32,
    sfixed64: Kind.SFIXED64,
    bool: Kind.BOOL,
    string: Kind.STRING,
    bytes: Kind.BYTES,
  }),
);

/** A name within a scope, which is empty for a file without a package. */
export function qualified(scope: string, name: string): string {
  return scope === "" ? name : `${scope}.${name}`;
}

/** The JSON name of a field that does not set one. */
export function camelCase(name: string): string {
  return name.replaceAll(/_+([^_]?)/g, (_, next: string) => (/[a-z]/.test(next) ? next.toUpperCase() : next));
}

/** The name of the message that stands for an entry of a map on the wire. */
export function entryName(name: string): string {
  const camel = camelCase(`_${name}`);
  return `${camel}Entry`;
}

/** The name of the oneof around a single field that is `optional` in proto3. */
export function syntheticOneof({ name }: FieldDescriptorProto, message: DescriptorProto): string {
  const taken = new Set([...message.field, ...message.oneofDecl].map((each) => each.name));
  let result = name.startsWith("_") ? name : `_${name}`;
  if (name.startsWith("_")) result = `X${name}`;
  while (taken.has(result)) result = `X${result}`;
  return result;
}
