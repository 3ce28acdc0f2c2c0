import {
  clone,
  type DescField,
  type DescMessage,
  type Message,
  type Registry,
  toJson,
} from "@bufbuild/protobuf";
import { reflect, type ReflectMessage } from "@bufbuild/protobuf/reflect";
import { base64Encode } from "@bufbuild/protobuf/wire";
import { type Any, AnySchema, isWrapperDesc } from "@bufbuild/protobuf/wkt";
import { type Json, type JsonMap, MOST_NESTED, parseJson } from "./json-value.js";
import { messageFromBytes } from "./message-from-bytes.js";

/*
 * Messages to JSON: makes the JSON value of a message to show. output/json.ts writes it as text;
 * message-from-json.ts is the reverse.
 *
 * Both use protobuf's JSON with one addition, an Any of unknown type. containerd packs OCI's own JSON into such Anys, so
 * they are `{ "@type": …, "value": … }`, where an object or array is JSON and a string is base64.
 */

/** How messages are shown. */
export interface ToJsonOptions {
  readonly registry: Registry;
  /** Whether fields with their default value are shown too, unless they have presence. */
  readonly emitDefaults?: boolean;
}

/** The JSON of a message. Every Any of a type that the registry has is unpacked. */
export function messageToJson(desc: DescMessage, message: Message, options: ToJsonOptions): Json {
  return jsonOf(desc, message, options, 0);
}

/** The JSON of an Any. */
export function anyToJson(any: Any, options: ToJsonOptions): JsonMap {
  return jsonOfAny(any, options, 0);
}

/** @param level - How deep the message is nested; an Any counts as a level. */
function jsonOf(desc: DescMessage, message: Message, options: ToJsonOptions, level: number): Json {
  if (level > MOST_NESTED) throw new Error(`it is nested deeper than ${MOST_NESTED} levels`);
  if (desc.typeName === AnySchema.typeName) return jsonOfAny(message as Any, options, level);
  const fields = fieldsWithAny(desc);
  if (fields.length === 0) return toJson(desc, message, written(options));
  const all = reflect(desc, message);
  const plain = reflect(desc, clone(desc, message));
  for (const field of fields) plain.clear(field);
  const json = new Map(Object.entries(toJson(desc, plain.message, written(options)) as JsonMap));
  for (const field of fields) {
    if (all.isSet(field)) json.set(field.jsonName, jsonOfField(field, all, options, level + 1));
  }
  // In the order of the definition, as if no field had been converted apart.
  const inOrder = desc.fields.filter(({ jsonName }) => json.has(jsonName));
  const ordered = inOrder.map(({ jsonName }): [string, Json | undefined] => [jsonName, json.get(jsonName)]);
  return Object.fromEntries([...ordered, ...json]);
}

function written({ registry, emitDefaults = false }: ToJsonOptions) {
  return { registry, alwaysEmitImplicit: emitDefaults };
}

function jsonOfField(field: DescField, message: ReflectMessage, options: ToJsonOptions, level: number): Json {
  const one = (value: unknown) => {
    const { desc, message: nested } = value as ReflectMessage;
    return jsonOf(desc, nested, options, level);
  };
  if (field.fieldKind === "list") return [...message.get(field)].map(one);
  if (field.fieldKind === "map") {
    return Object.fromEntries([...message.get(field)].map(([key, value]) => [String(key), one(value)]));
  }
  return one(message.get(field));
}

function jsonOfAny({ typeUrl, value }: Any, options: ToJsonOptions, level: number): JsonMap {
  if (typeUrl === "" && value.length === 0) return {};
  const desc = options.registry.getMessage(nameOf(typeUrl));
  if (desc === undefined) return { "@type": typeUrl, value: jsonIn(value) ?? base64Encode(value) };
  let json: Json;
  try {
    json = jsonOf(desc, messageFromBytes(desc, value), options, level + 1);
  } catch {
    // The bytes are not of the type that it names, so they are shown as bytes.
    return { "@type": typeUrl, value: base64Encode(value) };
  }
  return hasOwnJson(desc) ? { "@type": typeUrl, value: json } : { "@type": typeUrl, ...(json as JsonMap) };
}

/** The type in a URL: its last segment, as containerd reads it. */
export function nameOf(typeUrl: string): string {
  return typeUrl.slice(typeUrl.lastIndexOf("/") + 1);
}

const OWN_JSON = new Set(
  ["Any", "Timestamp", "Duration", "FieldMask", "Struct", "Value", "ListValue"].map(
    (name) => `google.protobuf.${name}`,
  ),
);

/** Whether the JSON of a message is anything but an object of its fields. */
export function hasOwnJson(desc: DescMessage): boolean {
  return OWN_JSON.has(desc.typeName) || isWrapperDesc(desc);
}

/** The object or array that bytes are the JSON text of; undefined if they are not. */
function jsonIn(value: Uint8Array): Json | undefined {
  if (value[0] !== 0x7b && value[0] !== 0x5b) return undefined;
  try {
    return parseJson(new TextDecoder("utf-8", { fatal: true }).decode(value));
  } catch {
    return undefined;
  }
}

const withAny = new WeakMap<DescMessage, DescField[]>();

/** The fields of a message whose values are, or may contain, an Any. */
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
