import {
  type DescEnum,
  type DescField,
  type DescMessage,
  type DescMethod,
  type DescOneof,
  type DescService,
  ScalarType,
} from "@bufbuild/protobuf";
import { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";
import type { NamedType } from "./schema.js";

const INDENT = "  ";

/** Styles the parts of a definition. */
export interface Palette {
  keyword(text: string): string;
  name(text: string): string;
}

/** The definition of a type in the language of .proto files, with full names of types. */
export function definition(type: NamedType, palette: Palette): string {
  switch (type.kind) {
    case "service":
      return serviceText(type, palette);
    case "message":
      return messageText(type, type.typeName, palette);
    case "enum":
      return enumText(type, type.typeName, palette);
  }
}

/** The definition of a method. */
export function methodText({ name, methodKind, input, output }: DescMethod, palette: Palette): string {
  const stream = (streams: boolean) => (streams ? `${palette.keyword("stream")} ` : "");
  const request =
    stream(methodKind === "client_streaming" || methodKind === "bidi_streaming") + input.typeName;
  const response =
    stream(methodKind === "server_streaming" || methodKind === "bidi_streaming") + output.typeName;
  const { keyword } = palette;
  return `${keyword("rpc")} ${palette.name(name)}(${request}) ${keyword("returns")} (${response});`;
}

function serviceText(service: DescService, palette: Palette): string {
  const methods = service.methods.map((method) => methodText(method, palette));
  return block(`${palette.keyword("service")} ${palette.name(service.typeName)}`, methods);
}

function messageText(message: DescMessage, name: string, palette: Palette): string {
  const nested = [
    ...message.nestedEnums.map((type) => enumText(type, type.name, palette)),
    ...message.nestedMessages.map((type) => messageText(type, type.name, palette)),
  ];
  const members = message.members.map((member) =>
    member.kind === "oneof" ? oneofText(member, palette) : fieldText(member, palette),
  );
  return block(`${palette.keyword("message")} ${palette.name(name)}`, [...nested, ...members]);
}

function oneofText(oneof: DescOneof, palette: Palette): string {
  const fields = oneof.fields.map((field) => fieldText(field, palette));
  return block(`${palette.keyword("oneof")} ${palette.name(oneof.name)}`, fields);
}

function fieldText(field: DescField, palette: Palette): string {
  const deprecated = field.deprecated ? " [deprecated = true]" : "";
  return `${labelOf(field, palette)}${typeOf(field, palette)} ${palette.name(field.name)} = ${field.number}${deprecated};`;
}

function labelOf(field: DescField, { keyword }: Palette): string {
  if (field.fieldKind === "list") return `${keyword("repeated")} `;
  if (field.fieldKind === "map" || field.oneof !== undefined) return "";
  if (field.presence === FeatureSet_FieldPresence.LEGACY_REQUIRED) return `${keyword("required")} `;
  // Every message has presence, so to say so of one would tell nothing.
  if (field.presence === FeatureSet_FieldPresence.EXPLICIT && field.fieldKind !== "message") {
    return `${keyword("optional")} `;
  }
  return "";
}

function typeOf(field: DescField, { keyword }: Palette): string {
  const scalar = (type: ScalarType) => keyword((ScalarType[type] ?? "").toLowerCase());
  const value =
    field.message?.typeName ??
    field.enum?.typeName ??
    (field.scalar === undefined ? "" : scalar(field.scalar));
  return field.fieldKind === "map" ? `${keyword("map")}<${scalar(field.mapKey)}, ${value}>` : value;
}

function enumText(type: DescEnum, name: string, palette: Palette): string {
  const values = type.values.map((value) => `${palette.name(value.name)} = ${value.number};`);
  return block(`${palette.keyword("enum")} ${palette.name(name)}`, values);
}

function block(head: string, members: readonly string[]): string {
  if (members.length === 0) return `${head} {}`;
  const lines = members.flatMap((member) => member.split("\n")).map((line) => `${INDENT}${line}`);
  return [`${head} {`, ...lines, "}"].join("\n");
}
