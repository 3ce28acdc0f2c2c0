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
import { type Part, Text, text } from "../output/text.js";
import type { NamedType } from "./schema.js";

const INDENT = "  ";

/** Styles the parts of a definition. */
export interface Palette {
  keyword(text: string): Text;
  name(text: string): Text;
}

/** The definition of a type as in a .proto file, in lines, with the full names of types. */
export function definition(type: NamedType, palette: Palette): Text[] {
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
export function methodText({ name, methodKind, input, output }: DescMethod, palette: Palette): Text {
  const { keyword } = palette;
  const stream = (streams: boolean) => (streams ? text`${keyword("stream")} ` : "");
  const request = text`${stream(methodKind === "client_streaming" || methodKind === "bidi_streaming")}${input.typeName}`;
  const response = text`${stream(methodKind === "server_streaming" || methodKind === "bidi_streaming")}${output.typeName}`;
  return text`${keyword("rpc")} ${palette.name(name)}(${request}) ${keyword("returns")} (${response});`;
}

function serviceText(service: DescService, palette: Palette): Text[] {
  const methods = service.methods.map((method) => [methodText(method, palette)]);
  return block(text`${palette.keyword("service")} ${palette.name(service.typeName)}`, methods);
}

function messageText(message: DescMessage, name: string, palette: Palette): Text[] {
  const nested = [
    ...message.nestedEnums.map((type) => enumText(type, type.name, palette)),
    ...message.nestedMessages.map((type) => messageText(type, type.name, palette)),
  ];
  const members = message.members.map((member) =>
    member.kind === "oneof" ? oneofText(member, palette) : [fieldText(member, palette)],
  );
  return block(text`${palette.keyword("message")} ${palette.name(name)}`, [...nested, ...members]);
}

function oneofText(oneof: DescOneof, palette: Palette): Text[] {
  const fields = oneof.fields.map((field) => [fieldText(field, palette)]);
  return block(text`${palette.keyword("oneof")} ${palette.name(oneof.name)}`, fields);
}

function fieldText(field: DescField, palette: Palette): Text {
  const deprecated = field.deprecated ? " [deprecated = true]" : "";
  return text`${labelOf(field, palette)}${typeOf(field, palette)} ${palette.name(field.name)} = ${field.number}${deprecated};`;
}

function labelOf(field: DescField, { keyword }: Palette): Part {
  if (field.fieldKind === "list") return text`${keyword("repeated")} `;
  if (field.fieldKind === "map" || field.oneof !== undefined) return "";
  if (field.presence === FeatureSet_FieldPresence.LEGACY_REQUIRED) return text`${keyword("required")} `;
  // Every message field has presence, so the label would say nothing.
  if (field.presence === FeatureSet_FieldPresence.EXPLICIT && field.fieldKind !== "message") {
    return text`${keyword("optional")} `;
  }
  return "";
}

function typeOf(field: DescField, { keyword }: Palette): Part {
  const scalar = (type: ScalarType) => keyword((ScalarType[type] ?? "").toLowerCase());
  const value =
    field.message?.typeName ??
    field.enum?.typeName ??
    (field.scalar === undefined ? "" : scalar(field.scalar));
  return field.fieldKind === "map" ? text`${keyword("map")}<${scalar(field.mapKey)}, ${value}>` : value;
}

function enumText(type: DescEnum, name: string, palette: Palette): Text[] {
  const values = type.values.map((value) => [text`${palette.name(value.name)} = ${value.number};`]);
  return block(text`${palette.keyword("enum")} ${palette.name(name)}`, values);
}

function block(head: Text, members: readonly Text[][]): Text[] {
  if (members.length === 0) return [text`${head} {}`];
  return [text`${head} {`, ...members.flat().map((line) => Text.joined([INDENT, line])), Text.of("}")];
}
