import {
  clone,
  create,
  type DescField,
  type DescMessage,
  fromBinary,
  fromJson,
  type JsonObject,
  type JsonValue,
  type Message,
  type Registry,
  ScalarType,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import { reflect, type ReflectMessage } from "@bufbuild/protobuf/reflect";
import { base64Decode, base64Encode } from "@bufbuild/protobuf/wire";
import { type Any, AnySchema, isWrapperDesc } from "@bufbuild/protobuf/wkt";

/*
 * protobuf's JSON, with one thing added: an Any whose type nobody knows. containerd packs OCI's own JSON into such ones,
 * so they are shown, and taken, as `{ "@type": …, "value": … }` with an object or array for JSON and base64 for bytes.
 */

/** The JSON of a message. Every Any of a type that the registry has is unpacked. */
export function messageToJson(desc: DescMessage, message: Message, registry: Registry): JsonValue {
  if (desc.typeName === AnySchema.typeName) return anyToJson(message as Any, registry);
  const fields = fieldsWithAny(desc);
  if (fields.length === 0) return toJson(desc, message, { registry });
  const all = reflect(desc, message);
  const plain = reflect(desc, clone(desc, message));
  for (const field of fields) plain.clear(field);
  const json = toJson(desc, plain.message, { registry }) as JsonObject;
  for (const field of fields) if (all.isSet(field)) json[field.jsonName] = fieldToJson(field, all, registry);
  // In the order of the definition, as if nothing had been taken out.
  const ordered: JsonObject = {};
  for (const { jsonName } of desc.fields) {
    const value = json[jsonName];
    if (value !== undefined) ordered[jsonName] = value;
  }
  return { ...ordered, ...json };
}

function fieldToJson(field: DescField, message: ReflectMessage, registry: Registry): JsonValue {
  const one = (value: unknown) => {
    const { desc, message: nested } = value as ReflectMessage;
    return messageToJson(desc, nested, registry);
  };
  if (field.fieldKind === "list") return [...message.get(field)].map(one);
  if (field.fieldKind === "map") {
    return Object.fromEntries([...message.get(field)].map(([key, value]) => [String(key), one(value)]));
  }
  return one(message.get(field));
}

/** The JSON of an Any. */
export function anyToJson({ typeUrl, value }: Any, registry: Registry): JsonObject {
  if (typeUrl === "") return {};
  const desc = registry.getMessage(nameOf(typeUrl));
  if (desc === undefined) return { "@type": typeUrl, value: jsonIn(value) ?? base64Encode(value) };
  let json: JsonValue;
  try {
    json = messageToJson(desc, fromBinary(desc, value), registry);
  } catch {
    // It is not what it says; the bytes are all there is to show.
    return { "@type": typeUrl, value: base64Encode(value) };
  }
  return hasOwnJson(desc) ? { "@type": typeUrl, value: json } : { "@type": typeUrl, ...(json as JsonObject) };
}

/** The message of a JSON value. Throws an Error that names the field which is wrong. */
export function messageFromJson(desc: DescMessage, json: JsonValue, registry: Registry): Message {
  if (desc.typeName === AnySchema.typeName) return anyFromJson(json, registry);
  const fields = fieldsWithAny(desc);
  if (fields.length === 0 || !isObject(json)) return fromJson(desc, json, { registry });
  const plain: JsonObject = { ...json };
  const taken: [DescField, JsonValue][] = [];
  for (const field of fields) {
    for (const name of new Set([field.jsonName, field.name])) {
      const value = plain[name];
      if (value !== undefined && value !== null) taken.push([field, value]);
      delete plain[name];
    }
  }
  const message = reflect(desc, fromJson(desc, plain, { registry }));
  for (const [field, value] of taken) fieldFromJson(field, value, message, registry);
  return message.message;
}

function fieldFromJson(field: DescField, json: JsonValue, message: ReflectMessage, registry: Registry): void {
  const one = (value: JsonValue) => reflect(field.message!, messageFromJson(field.message!, value, registry));
  if (field.fieldKind === "list") {
    if (!Array.isArray(json)) throw new Error(`${field.name} must be an array`);
    for (const value of json) message.get(field).add(one(value));
  } else if (field.fieldKind === "map") {
    if (!isObject(json)) throw new Error(`${field.name} must be an object`);
    for (const [key, value] of Object.entries(json)) {
      message.get(field).set(mapKey(field.mapKey, key), one(value));
    }
  } else {
    message.set(field as DescField & { fieldKind: "message" }, one(json));
  }
}

const NUMBERS = new Set([
  ScalarType.INT32,
  ScalarType.UINT32,
  ScalarType.SINT32,
  ScalarType.FIXED32,
  ScalarType.SFIXED32,
]);

/** A key of a map, which JSON has as text. */
function mapKey(type: ScalarType, text: string): string | number | bigint | boolean {
  if (type === ScalarType.STRING) return text;
  if (type === ScalarType.BOOL) return text === "true";
  return NUMBERS.has(type) ? Number(text) : BigInt(text);
}

function anyFromJson(json: JsonValue, registry: Registry): Any {
  if (!isObject(json)) throw new Error('a google.protobuf.Any must be an object with "@type"');
  const { "@type": typeUrl, ...fields } = json;
  if (typeUrl === undefined && Object.keys(fields).length === 0) return create(AnySchema);
  if (typeof typeUrl !== "string" || typeUrl === "") {
    throw new Error('a google.protobuf.Any needs "@type", the name of its message');
  }
  const desc = registry.getMessage(nameOf(typeUrl));
  if (desc !== undefined) {
    const inner = hasOwnJson(desc) ? (fields["value"] ?? {}) : fields;
    return create(AnySchema, {
      typeUrl,
      value: toBinary(desc, messageFromJson(desc, inner, registry)),
    });
  }
  const { value } = fields;
  if (value === undefined || Object.keys(fields).length > 1) {
    throw new Error(
      `"@type" ${JSON.stringify(typeUrl)} is not known: add it with --proto, or give "value", which is base64 or JSON`,
    );
  }
  if (typeof value === "string") return create(AnySchema, { typeUrl, value: base64Decode(value) });
  return create(AnySchema, { typeUrl, value: new TextEncoder().encode(JSON.stringify(value)) });
}

/** As containerd reads it, the type is the last segment of the URL. */
function nameOf(typeUrl: string): string {
  return typeUrl.slice(typeUrl.lastIndexOf("/") + 1);
}

const OWN_JSON = new Set(
  ["Any", "Timestamp", "Duration", "FieldMask", "Struct", "Value", "ListValue"].map(
    (name) => `google.protobuf.${name}`,
  ),
);

/** Whether the JSON of a message is something else than an object of its fields. */
function hasOwnJson(desc: DescMessage): boolean {
  return OWN_JSON.has(desc.typeName) || isWrapperDesc(desc);
}

function isObject(json: JsonValue): json is JsonObject {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}

/** The object or array that bytes hold as JSON text. */
function jsonIn(value: Uint8Array): JsonValue | undefined {
  if (value[0] !== 0x7b && value[0] !== 0x5b) return undefined;
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(value)) as JsonValue;
  } catch {
    return undefined;
  }
}

const withAny = new WeakMap<DescMessage, DescField[]>();

/** The fields of a message whose messages are, or may hold, an Any. */
function fieldsWithAny(desc: DescMessage): DescField[] {
  let fields = withAny.get(desc);
  if (fields === undefined) {
    fields = desc.fields.filter((field) => field.message && reachesAny(field.message, new Set()));
    withAny.set(desc, fields);
  }
  return fields;
}

function reachesAny(desc: DescMessage, seen: Set<DescMessage>): boolean {
  if (desc.typeName === AnySchema.typeName) return true;
  if (seen.has(desc)) return false;
  seen.add(desc);
  return desc.fields.some((field) => field.message && reachesAny(field.message, seen));
}
