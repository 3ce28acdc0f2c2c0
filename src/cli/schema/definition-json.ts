import {
  type DescEnum,
  type DescField,
  type DescMessage,
  type DescMethod,
  ScalarType,
} from "@bufbuild/protobuf";
import type { Json, JsonMap } from "../json-value.js";
import type { NamedType } from "./schema.js";

/** The definition of a type or method as JSON. */
export function definitionJson(type: NamedType | DescMethod): JsonMap {
  switch (type.kind) {
    case "service":
      return {
        kind: "service",
        name: type.typeName,
        methods: type.methods.map((method) => methodJson(method)),
      };
    case "rpc":
      return { ...methodJson(type), name: `${type.parent.typeName}/${type.name}` };
    case "message":
      return messageJson(type);
    case "enum":
      return enumJson(type);
  }
}

function methodJson({ name, methodKind, input, output }: DescMethod): JsonMap {
  return { kind: methodKind, name, input: input.typeName, output: output.typeName };
}

function messageJson(message: DescMessage): JsonMap {
  return { kind: "message", name: message.typeName, fields: message.fields.map((field) => fieldJson(field)) };
}

function fieldJson(field: DescField): JsonMap {
  return {
    name: field.name,
    jsonName: field.jsonName,
    number: field.number,
    type: typeName(field),
    repeated: field.fieldKind === "list",
    ...(field.fieldKind === "map" && { key: scalarName(field.mapKey) }),
    ...(field.oneof !== undefined && { oneof: field.oneof.name }),
    ...(field.deprecated && { deprecated: true }),
  };
}

function typeName({ message, enum: enumeration, scalar }: DescField): Json {
  return message?.typeName ?? enumeration?.typeName ?? (scalar === undefined ? null : scalarName(scalar));
}

function scalarName(type: ScalarType): string {
  return (ScalarType[type] ?? "").toLowerCase();
}

function enumJson({ typeName: name, values }: DescEnum): JsonMap {
  return { kind: "enum", name, values: values.map((value) => ({ name: value.name, number: value.number })) };
}
