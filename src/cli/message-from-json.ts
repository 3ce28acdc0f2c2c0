import {
  create,
  type DescExtension,
  type DescField,
  type DescMessage,
  fromJson,
  type JsonValue,
  type Message,
  type Registry,
  ScalarType,
  setExtension,
  toBinary,
} from "@bufbuild/protobuf";
import { reflect, type ReflectMessage } from "@bufbuild/protobuf/reflect";
import { base64Decode } from "@bufbuild/protobuf/wire";
import {
  type Any,
  AnySchema,
  DurationSchema,
  isWrapperDesc,
  TimestampSchema,
  ValueSchema,
} from "@bufbuild/protobuf/wkt";
import { stringify } from "lossless-json";
import { hasOwnJson, nameOf } from "./message-to-json.js";
import { isNumberLike, isNumberText, isObject, type Json, type JsonMap, wholeNumber } from "./json-value.js";

/*
 * Messages from JSON: makes the message to send from what the user typed. json-value.ts parses the text first.
 * message-to-json.ts is the reverse, and describes the one addition to protobuf's JSON.
 */

/** Makes a message from JSON. Throws an Error that names the wrong field. */
export function messageFromJson(desc: DescMessage, json: Json, registry: Registry): Message {
  return read(desc, json, registry, desc.typeName);
}

/** @param where - The name of the value's place in error texts. */
function read(desc: DescMessage, json: Json, registry: Registry, where: string): Message {
  if (desc.typeName === AnySchema.typeName) return anyFromJson(json, registry, where);
  if (isWrapperDesc(desc)) return fromJson(desc, exact(desc.fields[0]!, json, where));
  checkTime(desc.typeName, json, where);
  if (hasOwnJson(desc) || !isObject(json)) return fromJson(desc, rounded(json, where), { registry });
  return new Fields(desc, registry).read(json);
}

/** Reads the fields of one message: scalars and enums all at once, messages one by one. */
class Fields {
  readonly #desc: DescMessage;
  readonly #registry: Registry;
  readonly #seen = new Map<unknown, string>();
  /** Scalars and enums, with numbers in a form that protobuf-es does not round. */
  readonly #plain = Object.create(null) as Record<string, JsonValue>;
  /** Set the messages, once the message around them exists. */
  readonly #messages: ((message: ReflectMessage) => void)[] = [];

  constructor(desc: DescMessage, registry: Registry) {
    this.#desc = desc;
    this.#registry = registry;
  }

  read(json: JsonMap): Message {
    for (const [key, value = null] of Object.entries(json)) this.#entry(key, value);
    const message = reflect(this.#desc, fromJson(this.#desc, this.#plain, { registry: this.#registry }));
    for (const set of this.#messages) set(message);
    return message.message;
  }

  #entry(key: string, value: Json): void {
    const field = this.#desc.fields.find(({ name, jsonName }) => key === jsonName || key === name);
    if (field === undefined) return this.#extension(key, value);
    this.#once(field, key, String(field));
    const setsNull = field.message === undefined ? isNullEnum(field) : isValue(field.message);
    if (field.oneof !== undefined && (value !== null || setsNull)) {
      this.#once(field.oneof, key, `the oneof ${this.#desc.typeName}.${field.oneof.name}`);
    }
    const { message } = field;
    if (message === undefined) this.#plain[key] = exact(field, value, String(field));
    // null leaves a message, a list or a map unset.
    else if (value !== null || (setsNull && field.fieldKind === "message")) {
      this.#messages.push((target) => setMessages(field, message, value, target, this.#registry));
    }
  }

  /** Refuses a second value for a field or a oneof. */
  #once(what: unknown, key: string, called: string): void {
    const earlier = this.#seen.get(what);
    if (earlier !== undefined) {
      throw new Error(`${called} is set twice, by ${JSON.stringify(earlier)} and by ${JSON.stringify(key)}`);
    }
    this.#seen.set(what, key);
  }

  #extension(key: string, value: Json): void {
    const extension = /^\[.*\]$/.test(key) ? this.#registry.getExtension(key.slice(1, -1)) : undefined;
    const where = String(extension ?? key);
    if (extension?.message === undefined || value === null) {
      this.#plain[key] = extension === undefined ? rounded(value, where) : exact(extension, value, where);
      return;
    }
    const { message } = extension;
    const one = (each: Json) => read(message, each, this.#registry, where);
    const all = extension.fieldKind === "list" ? arrayOf(value, where).map(one) : one(value);
    this.#messages.push((target) => setExtension(target.message, extension, all as never));
  }
}

function setMessages(
  field: DescField,
  desc: DescMessage,
  json: Json,
  target: ReflectMessage,
  registry: Registry,
): void {
  const where = String(field);
  const one = (value: Json) => reflect(desc, read(desc, value, registry, where));
  if (field.fieldKind === "list") {
    for (const value of arrayOf(json, where)) target.get(field).add(one(value));
  } else if (field.fieldKind === "map") {
    if (!isObject(json)) throw new Error(`${where} must be an object`);
    for (const [key, value = null] of Object.entries(json)) {
      target.get(field).set(mapKey(field.mapKey, key, where), one(value));
    }
  } else {
    target.set(field as DescField & { fieldKind: "message" }, one(json));
  }
}

function arrayOf(json: Json, where: string): readonly Json[] {
  if (!Array.isArray(json)) throw new Error(`${where} must be an array`);
  return json as readonly Json[];
}

const NUMBERS = new Set([
  ScalarType.INT32,
  ScalarType.UINT32,
  ScalarType.SINT32,
  ScalarType.FIXED32,
  ScalarType.SFIXED32,
]);

/** A key of a map; in JSON it is always a string. */
function mapKey(type: ScalarType, text: string, where: string): string | number | bigint | boolean {
  if (type === ScalarType.STRING) return text;
  if (type === ScalarType.BOOL && (text === "true" || text === "false")) return text === "true";
  if (type === ScalarType.BOOL || !/^-?(?:0|[1-9]\d*)$/.test(text)) {
    const name = (ScalarType[type] ?? "").toLowerCase();
    throw new Error(`${where} has the key ${JSON.stringify(text)}, which is not of type ${name}`);
  }
  return NUMBERS.has(type) ? Number(text) : BigInt(text);
}

function anyFromJson(json: Json, registry: Registry, where: string): Any {
  if (!isObject(json))
    throw new Error(`${where} is a google.protobuf.Any: it must be an object with "@type"`);
  const { "@type": typeUrl, ...fields } = json;
  if (typeUrl === undefined && Object.keys(fields).length === 0) return create(AnySchema);
  if (typeof typeUrl !== "string" || typeUrl === "") {
    throw new Error(`${where} is a google.protobuf.Any: it needs "@type", the name of its message`);
  }
  const { value = null, ...others } = fields;
  const desc = registry.getMessage(nameOf(typeUrl));
  if (desc !== undefined) return packed(desc, typeUrl, hasOwnJson(desc) ? [value, others] : [fields, {}]);
  if (fields["value"] === undefined || Object.keys(others).length > 0) {
    throw new Error(
      `${where}: "@type" ${JSON.stringify(typeUrl)} is not known: add it with --proto, or give "value", which is base64 or JSON`,
    );
  }
  if (!typeUrl.includes("/")) {
    throw new Error(
      `${where}: "@type" ${JSON.stringify(typeUrl)} is neither the name of a known message nor a URL with a slash`,
    );
  }
  if (typeof value === "string") return create(AnySchema, { typeUrl, value: base64Decode(value) });
  return create(AnySchema, { typeUrl, value: new TextEncoder().encode(stringify(value)) });

  function packed(known: DescMessage, url: string, [inner, rest]: [Json, JsonMap]): Any {
    const [stranger] = Object.keys(rest);
    if (stranger !== undefined) {
      throw new Error(
        `${where}: the JSON of a ${known.typeName} belongs in "value", without ${JSON.stringify(stranger)}`,
      );
    }
    const message = read(known, inner, registry, known.typeName);
    return create(AnySchema, { typeUrl: url, value: toBinary(known, message) });
  }
}

/**
 * The value of a scalar or enum field, for protobuf-es. A whole number that JavaScript cannot hold goes as a string, which
 * protobuf's JSON allows, so that nothing rounds it.
 */
function exact(field: DescField | DescExtension, json: Json, where: string): JsonValue {
  if (Array.isArray(json)) return (json as readonly Json[]).map((each) => exact(field, each, where));
  if (isObject(json)) {
    if (field.fieldKind === "map") for (const key of Object.keys(json)) mapKey(field.mapKey, key, where);
    return ownObject(Object.entries(json).map(([key, each = null]) => [key, exact(field, each, where)]));
  }
  // The name of an enum's value.
  const isName = typeof json === "string" && field.scalar === undefined;
  if (isName || (typeof json !== "string" && !isNumberText(json))) return json as JsonValue;
  switch (field.scalar) {
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      if (typeof json !== "string" || NO_NUMBERS.has(json) || isNumberLike(json)) return rounded(json, where);
      throw new Error(`${where} must be a number, not ${JSON.stringify(json)}`);
    case ScalarType.STRING:
    case ScalarType.BYTES:
    case ScalarType.BOOL:
      return rounded(json, where);
    default: {
      const whole = wholeNumber(String(json));
      if (whole === undefined) {
        const shown = typeof json === "string" ? JSON.stringify(json) : String(json);
        throw new Error(`${where} must be a whole number that fits, not ${shown}`);
      }
      if (field.enum === undefined) return String(whole);
      return Number(BigInt.asIntN(32, whole) === whole ? whole : Number.NaN);
    }
  }
}

/** What a field of floating point may be beside numbers. */
const NO_NUMBERS = new Set(["NaN", "Infinity", "-Infinity"]);

/** How times are written, with an example. protobuf-es takes more, such as the 30th of February for the 1st of March. */
const TIMES: ReadonlyMap<string, readonly [form: RegExp, example: string]> = new Map([
  [
    TimestampSchema.typeName,
    [
      /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/,
      "a time that exists, such as 2026-01-31T23:59:59.5Z",
    ],
  ],
  [DurationSchema.typeName, [/^-?\d+(?:\.\d{1,9})?s$/, "seconds with up to nine decimals, such as 1.5s"]],
]);

function checkTime(typeName: string, json: Json, where: string): void {
  const time = TIMES.get(typeName);
  if (time === undefined) return;
  const [form, example] = time;
  const [matched, local] = (typeof json === "string" && form.exec(json)) || [];
  if (matched === undefined || (local !== undefined && !exists(local))) {
    throw new Error(`${where} must be ${example}, not ${stringify(json)}`);
  }
}

/** Whether a calendar and a clock have this time. Date moves the 30th of February and 24 o'clock to the next day. */
function exists(local: string): boolean {
  const date = new Date(`${local}Z`);
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(local);
}

/** A value whose numbers become doubles. Throws an Error for one that is too large. */
function rounded(json: Json, where: string): JsonValue {
  if (isNumberText(json)) {
    const number = Number(String(json));
    if (!Number.isFinite(number)) throw new Error(`${where} cannot hold ${String(json)}: it is too large`);
    return number;
  }
  if (Array.isArray(json)) return (json as readonly Json[]).map((each) => rounded(each, where));
  if (isObject(json)) {
    return ownObject(Object.entries(json).map(([key, each = null]) => [key, rounded(each, where)]));
  }
  return json as JsonValue;
}

/** An object whose keys are all properties of its own, `__proto__` included. */
function ownObject(entries: readonly (readonly [string, JsonValue])[]): JsonValue {
  return Object.fromEntries(entries);
}

function isValue(desc: DescMessage): boolean {
  return desc.typeName === ValueSchema.typeName;
}

function isNullEnum(field: DescField): boolean {
  return field.enum?.typeName === "google.protobuf.NullValue";
}
