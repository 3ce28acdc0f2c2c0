import type { DescField, DescMessage, JsonObject, JsonValue } from "@bufbuild/protobuf";
import type { Struct, Value } from "@bufbuild/protobuf/wkt";
import { BAIL } from "./compiled-signals.js";
import { setEntry } from "./read.js";
import { memberOf } from "../value-kinds.js";

/** How protobuf-es represents the message of a field: as JSON, as the wrapped value, or as the message itself. */
export function representation(field: DescField, message: DescMessage): "json" | "wrapper" | "message" {
  if (message.typeName === "google.protobuf.Struct" && field.parent.typeName !== "google.protobuf.Value")
    return "json";
  if (field.fieldKind === "message" && field.oneof === undefined && isWrapper(message)) return "wrapper";
  return "message";
}

const WRAPPERS: ReadonlySet<string> = new Set(
  ["Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes"].map(
    (type) => `google.protobuf.${type}Value`,
  ),
);

/** Whether it is one of google/protobuf/wrappers.proto. */
function isWrapper({ typeName, fields }: DescMessage): boolean {
  if (!WRAPPERS.has(typeName)) return false;
  const [field] = fields;
  return field?.fieldKind === "scalar" && field.name === "value" && field.number === 1;
}

/**
 * Whether an object can be sent as a JSON object: a Date, Map or Promise has no members, and would pass for an empty one.
 * protobuf-es calls no `toJSON`, so what has one would not be sent as JSON.stringify writes it.
 */
export function isJsonObject(value: object): boolean {
  const isPlain = Object.prototype.toString.call(value) === "[object Object]";
  return isPlain && typeof memberOf(value, "toJSON") !== "function";
}

/**
 * The Struct of a JSON object. An undefined member becomes a value without a kind, which is read as null. Throws BAIL for
 * what is no JSON.
 */
export function structOf(json: JsonObject): Struct {
  if (Object.getPrototypeOf(json) !== Object.prototype && !isJsonObject(json)) throw BAIL;
  const fields: Struct["fields"] = {};
  for (const key of Object.keys(json)) setEntry(fields, key, valueOf(json[key]));
  return { $typeName: "google.protobuf.Struct", fields };
}

function valueOf(json: JsonValue | undefined): Value {
  return { $typeName: "google.protobuf.Value", kind: kindOf(json) };
}

function kindOf(json: JsonValue | undefined): Value["kind"] {
  switch (typeof json) {
    case "number":
      return { case: "numberValue", value: json };
    case "string":
      return { case: "stringValue", value: json };
    case "boolean":
      return { case: "boolValue", value: json };
    case "object":
      if (json === null) return { case: "nullValue", value: 0 };
      if (!Array.isArray(json)) return { case: "structValue", value: structOf(json) };
      return {
        case: "listValue",
        value: { $typeName: "google.protobuf.ListValue", values: json.map(valueOf) },
      };
    case "undefined":
      return { case: undefined };
    default:
      throw BAIL;
  }
}

/** The JSON object of a Struct, merged into one that came before. */
export function jsonOf({ fields }: Struct, json: JsonObject = {}): JsonObject {
  for (const key of Object.keys(fields)) {
    const value = fields[key];
    if (value !== undefined) setEntry(json, key, jsonValueOf(value));
  }
  return json;
}

function jsonValueOf({ kind }: Value): JsonValue {
  switch (kind.case) {
    case "structValue":
      return jsonOf(kind.value);
    case "listValue":
      return kind.value.values.map(jsonValueOf);
    case "nullValue":
    case undefined:
      return null;
    default:
      return kind.value;
  }
}
