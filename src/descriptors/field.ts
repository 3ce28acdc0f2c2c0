import type {
  DescExtension,
  DescField,
  DescMessage,
  DescOneof,
  ScalarType as Scalar,
} from "@bufbuild/protobuf";
import type { FieldDescriptorProto } from "@bufbuild/protobuf/wkt";
import { EXPLICIT, IMPLICIT } from "../codec/wire-types.js";
import { protobufEs } from "#protobuf";
import type { Fields } from "./bytes.js";
import { camelCase, propertyName } from "./names.js";
import { enumNamed, fullName, mapEntryNamed, messageNamed, type OwnFile } from "./types.js";

const LABEL_REPEATED = 3;
const TYPE_STRING = 9;
const TYPE_MESSAGE = 11;
const TYPE_BYTES = 12;
const TYPE_ENUM = 14;
const JS_STRING = 1;

/** Makes the descriptor of a field from a FieldDescriptorProto. `proto` gives that as protobuf-es decodes it. */
export function fieldOf(
  context: OwnFile,
  fields: Fields,
  parent: DescMessage,
  oneof: DescOneof | undefined,
  proto: () => FieldDescriptorProto,
): DescField {
  const name = fields.string(1);
  const camel = camelCase(name);
  return {
    kind: "field",
    get proto() {
      return proto();
    },
    parent,
    oneof,
    name,
    localName: oneof === undefined ? propertyName(camel) : camel,
    jsonName: fields.string(10) || camel,
    toString: () => `field ${parent.typeName}.${name}`,
    ...valueOf(context, fields, oneof !== undefined),
  } as unknown as DescField;
}

/** Makes the descriptor of an option for files or messages, which extends a message of descriptor.proto. */
export function extensionOf(
  context: OwnFile,
  fields: Fields,
  proto: () => FieldDescriptorProto,
): DescExtension {
  const name = fields.string(1);
  const typeName = fullName(context, undefined, name);
  const extendee = fields.string(2).replace(/^\./, "");
  return {
    kind: "extension",
    get proto() {
      return proto();
    },
    get extendee() {
      const { messages } = protobufEs().FileDescriptorProtoSchema.file;
      return messages.find((message) => message.typeName === extendee);
    },
    file: context.file,
    parent: undefined,
    oneof: undefined,
    name,
    typeName,
    jsonName: `[${typeName}]`,
    toString: () => `extension ${typeName}`,
    ...valueOf(context, fields, true),
  } as unknown as DescExtension;
}

/** What a descriptor says of the values of a field. */
function valueOf(context: OwnFile, fields: Fields, isExplicit: boolean): object {
  const type = fields.integer(5) ?? 0;
  const typeName = fields.string(6);
  const isRepeated = fields.integer(4) === LABEL_REPEATED;
  const longAsString = fields.option(8, 6) === JS_STRING;
  const entry = isRepeated && type === TYPE_MESSAGE ? mapEntryNamed(context, typeName) : undefined;
  return {
    deprecated: fields.option(8, 3) === 1,
    number: fields.integer(3) ?? 0,
    scalar: undefined,
    message: undefined,
    enum: undefined,
    presence: presenceOf(fields, isRepeated, isExplicit, type),
    utf8Validation: true,
    listKind: undefined,
    mapKind: undefined,
    mapKey: undefined,
    delimitedEncoding: undefined,
    packed: undefined,
    longAsString: false,
    getDefaultValue: undefined,
    ...(entry !== undefined
      ? mapOf(entry)
      : isRepeated
        ? { ...listOf(context, type, typeName, longAsString), packed: isPacked(fields, type) }
        : singularOf(context, type, typeName, longAsString)),
  };
}

function presenceOf(fields: Fields, isRepeated: boolean, isExplicit: boolean, type: number): number {
  if (isRepeated) return IMPLICIT;
  return isExplicit || fields.integer(17) === 1 || type === TYPE_MESSAGE ? EXPLICIT : IMPLICIT;
}

/** Whether a repeated field is packed: by its option, or as its type allows. */
function isPacked(fields: Fields, type: number): boolean {
  if (type === TYPE_STRING || type === TYPE_BYTES || type === TYPE_MESSAGE) return false;
  return fields.option(8, 2) !== 0;
}

function mapOf(entry: DescMessage): object {
  const [key, value] = [1, 2].map((number) => entry.fields.find((field) => field.number === number));
  return {
    fieldKind: "map",
    mapKey: key?.scalar,
    mapKind: value?.fieldKind,
    message: value?.message,
    enum: value?.enum,
    scalar: value?.scalar,
    delimitedEncoding: false,
  };
}

function listOf(context: OwnFile, type: number, typeName: string, longAsString: boolean): object {
  const fieldKind = "list";
  switch (type) {
    case TYPE_MESSAGE:
      return {
        fieldKind,
        listKind: "message",
        message: messageNamed(context, typeName),
        delimitedEncoding: false,
      };
    case TYPE_ENUM:
      return { fieldKind, listKind: "enum", enum: enumNamed(context, typeName) };
    default:
      return { fieldKind, listKind: "scalar", scalar: type as Scalar, longAsString };
  }
}

/** Files of proto3 have no default values. */
const getDefaultValue = () => undefined;

function singularOf(context: OwnFile, type: number, typeName: string, longAsString: boolean): object {
  switch (type) {
    case TYPE_MESSAGE:
      return {
        fieldKind: "message",
        message: messageNamed(context, typeName),
        delimitedEncoding: false,
        getDefaultValue,
      };
    case TYPE_ENUM:
      return { fieldKind: "enum", enum: enumNamed(context, typeName), getDefaultValue };
    default:
      return { fieldKind: "scalar", scalar: type as Scalar, longAsString, getDefaultValue };
  }
}
