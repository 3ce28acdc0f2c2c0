import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type DescriptorProtoSchema,
  Edition,
  type EnumDescriptorProtoSchema,
  FeatureSet_EnumType,
  FeatureSet_FieldPresence,
  FeatureSet_MessageEncoding,
  FeatureSet_RepeatedFieldEncoding,
  FeatureSet_Utf8Validation,
  type FieldDescriptorProto,
  FieldDescriptorProto_Label as Label,
  type FieldDescriptorProtoSchema,
  FieldDescriptorProto_Type as Kind,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  type ServiceDescriptorProtoSchema,
} from "@bufbuild/protobuf/wkt";
import protobuf from "protobufjs";

/** A parsed .proto file. */
export interface SourceFile {
  readonly name: string;
  readonly package?: string;
  /** The names of the files that it imports. */
  readonly dependencies: readonly string[];
  /** What it declares at its top level. */
  readonly types: protobuf.ReflectionObject[];
  /** Whether it is one of protobuf's own. */
  readonly wellKnown: boolean;
}

type Message = MessageInitShape<typeof DescriptorProtoSchema>;
type Field = Omit<
  Exclude<MessageInitShape<typeof FieldDescriptorProtoSchema>, FieldDescriptorProto>,
  "$typeName"
>;
type Enum = MessageInitShape<typeof EnumDescriptorProtoSchema>;
type Service = MessageInitShape<typeof ServiceDescriptorProtoSchema>;

/**
 * The descriptor of a file whose references are resolved. Whatever the file's syntax is, the descriptor is one of edition
 * 2023 with every feature written out, so that proto2, proto3 and editions go one way.
 */
export function descriptorOf(file: SourceFile): FileDescriptorProto {
  const of = <T extends protobuf.ReflectionObject>(type: abstract new (...args: never[]) => T) =>
    file.types.filter((object): object is T => object instanceof type);
  return create(FileDescriptorProtoSchema, {
    name: file.name,
    package: file.package ?? "",
    dependency: [...file.dependencies],
    syntax: "editions",
    edition: Edition.EDITION_2023,
    messageType: of(protobuf.Type).map(messageOf),
    enumType: of(protobuf.Enum).map(enumOf),
    service: of(protobuf.Service).map(serviceOf),
    extension: of(protobuf.Field).map(fieldOf),
  });
}

function messageOf(type: protobuf.Type): Message {
  const nested = type.nestedArray;
  // protobufjs puts extensions among the fields of what they extend.
  const fields = type.fieldsArray.filter((field) => field.declaringField === null);
  return {
    name: type.name,
    field: fields.map(fieldOf),
    oneofDecl: oneofsOf(type).map(({ name }) => ({ name })),
    nestedType: [
      ...fields.filter((field) => field instanceof protobuf.MapField).map(entryOf),
      ...nested.filter((object) => object instanceof protobuf.Type).map(messageOf),
    ],
    enumType: nested.filter((object) => object instanceof protobuf.Enum).map(enumOf),
    extension: nested.filter((object) => object instanceof protobuf.Field).map(fieldOf),
    extensionRange: (type.extensions ?? []).map(([start = 0, end = 0]) => ({ start, end: end + 1 })),
  };
}

/** Those that were written. `optional` in proto3 makes one of its own, which editions do without. */
function oneofsOf(type: protobuf.Type): protobuf.OneOf[] {
  return type.oneofsArray.filter((oneof) => !oneof.isProto3Optional);
}

function fieldOf(field: protobuf.Field): Field {
  const map = field instanceof protobuf.MapField;
  const kind = map ? Kind.MESSAGE : kindOf(field.type, field.resolvedType);
  const repeated = map || field.repeated;
  const message = kind === Kind.MESSAGE;
  const oneof =
    field.parent instanceof protobuf.Type && field.partOf !== null
      ? oneofsOf(field.parent).indexOf(field.partOf)
      : -1;
  const presence = field.required
    ? FeatureSet_FieldPresence.LEGACY_REQUIRED
    : field.hasPresence
      ? FeatureSet_FieldPresence.EXPLICIT
      : FeatureSet_FieldPresence.IMPLICIT;
  return {
    name: field.protoName,
    number: field.id,
    jsonName: field.jsonName,
    extendee: field.extensionField?.parent?.fullName ?? field.extend ?? "",
    ...(oneof >= 0 && { oneofIndex: oneof }),
    type: kind,
    label: repeated ? Label.REPEATED : Label.OPTIONAL,
    typeName: map ? `${field.parent?.fullName}.${entryName(field)}` : (field.resolvedType?.fullName ?? ""),
    options: {
      features: {
        ...(!repeated && oneof < 0 && (!message || field.required) && { fieldPresence: presence }),
        ...(repeated && {
          repeatedFieldEncoding: field.packed
            ? FeatureSet_RepeatedFieldEncoding.PACKED
            : FeatureSet_RepeatedFieldEncoding.EXPANDED,
        }),
        utf8Validation:
          featuresOf(field).utf8_validation === "NONE"
            ? FeatureSet_Utf8Validation.NONE
            : FeatureSet_Utf8Validation.VERIFY,
        ...(message && {
          messageEncoding:
            !map && field.delimited
              ? FeatureSet_MessageEncoding.DELIMITED
              : FeatureSet_MessageEncoding.LENGTH_PREFIXED,
        }),
      },
    },
  };
}

/** The message that a map is made of on the wire. */
function entryOf(field: protobuf.MapField): Message {
  const value = kindOf(field.type, field.resolvedType);
  return {
    name: entryName(field),
    options: { mapEntry: true },
    field: [
      { name: "key", number: 1, label: Label.OPTIONAL, type: kindOf(field.keyType, null) },
      {
        name: "value",
        number: 2,
        label: Label.OPTIONAL,
        type: value,
        typeName: field.resolvedType?.fullName ?? "",
      },
    ],
  };
}

function entryName(field: protobuf.FieldBase): string {
  const name = field.jsonName ?? field.name;
  return `${name.charAt(0).toUpperCase()}${name.slice(1)}Entry`;
}

const KINDS: Readonly<Record<string, Kind>> = {
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
};

function kindOf(name: string, resolved: protobuf.Type | protobuf.Enum | null): Kind {
  if (resolved instanceof protobuf.Enum) return Kind.ENUM;
  if (resolved !== null) return Kind.MESSAGE;
  const kind = KINDS[name];
  if (kind === undefined) throw new Error(`there is no type ${name}`);
  return kind;
}

function enumOf(type: protobuf.Enum): Enum {
  return {
    name: type.name,
    value: Object.entries(type.values).map(([name, number]) => ({ name, number })),
    options: {
      features: {
        enumType:
          featuresOf(type).enum_type === "OPEN" ? FeatureSet_EnumType.OPEN : FeatureSet_EnumType.CLOSED,
      },
    },
  };
}

/** What the file's syntax and the features around say, where protobufjs has no name of its own for it. */
function featuresOf(object: protobuf.ReflectionObject): { enum_type?: string; utf8_validation?: string } {
  return (object as unknown as { _features: object })._features;
}

function serviceOf(service: protobuf.Service): Service {
  return {
    name: service.name,
    method: service.methodsArray.map((method) => ({
      name: method.name,
      inputType: method.resolvedRequestType?.fullName ?? method.requestType,
      outputType: method.resolvedResponseType?.fullName ?? method.responseType,
      clientStreaming: method.requestStream === true,
      serverStreaming: method.responseStream === true,
    })),
  };
}
