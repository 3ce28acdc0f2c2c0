import type { DescEnum, DescField, DescMessage, DescOneof } from "@bufbuild/protobuf";
import { refusal, refusedBelow } from "../error.js";
import { ScalarType } from "./scalar-type.js";
import {
  bytesProblem,
  isArray,
  isOfEveryObject,
  isRevoked,
  kindOf,
  memberOf,
  shortened,
  shown,
} from "../value-kinds.js";
import { isJsonObject, representation } from "./json.js";
import { hasLongs, isInteger } from "./longs.js";
import { DEPTH_LIMIT, isLarge, longAsString } from "./wire-types.js";
import { isUnknownField } from "./write.js";

/**
 * Checks one value. `path` is a function because its text is needed only for an error; the path of a valid value is
 * never built.
 */
type Check = (value: unknown, path: Path) => void;
type Path = () => string;

const checks = new WeakMap<DescMessage, ReadonlyMap<string, Check>>();
let depth = 0;

/**
 * Checks that `value` can be encoded as a message of this type: its fields exist, and each has the type and range of
 * its definition. Throws a TypeError that names the wrong field by its path in the message, such as
 * `rootfs[2].options[0]`.
 *
 * @param at - The path of the message itself, if it is part of something else.
 */
export function validate(desc: DescMessage, value: unknown, at = ""): void {
  depth = 0;
  try {
    checkMessage(desc, value, () => at);
  } catch (error) {
    throw refusedBelow(error, validate);
  }
}

function checkMessage(desc: DescMessage, value: unknown, path: Path): void {
  if (!isObject(value)) {
    throw wrong(path, `an object with the fields of ${desc.typeName}`, value);
  }
  const { $typeName } = value as { $typeName?: unknown };
  if ($typeName !== undefined && $typeName !== desc.typeName) {
    throw refusal(`${label(path)} must be a ${desc.typeName}, not a ${shown($typeName)}`);
  }
  descend(path);
  const fields = checksOf(desc);
  const listed = new Set<string>();
  for (const name in value) {
    listed.add(name);
    const content = (value as Record<string, unknown>)[name];
    if (content === undefined || name === "$typeName" || isOfEveryObject(value, name)) continue;
    if (name === "$unknown") {
      if ($typeName !== undefined) unknown(content, join(path, name));
      continue;
    }
    const check = fields.get(name);
    if (check === undefined && $typeName !== undefined && isLarge(desc)) continue;
    if (check === undefined) throw refusal(`${join(path, name)()} is not a field of ${desc.typeName}`);
    check(content, join(path, name));
  }
  // The accessors of a class are not listed, but read.
  for (const [name, check] of fields) {
    const content = listed.has(name) ? undefined : memberOf(value, name);
    if (content !== undefined) check(content, join(path, name));
  }
  depth--;
}

/** Checks the unknown fields that a message keeps. */
function unknown(value: unknown, path: Path): void {
  if (!isArray(value)) throw wrong(path, "an array", value);
  value.forEach((item, index) => {
    if (!isUnknownField(item))
      throw wrong(() => `${path()}[${index}]`, "an unknown field { no, wireType, data }", item);
  });
}

/** Whether a value can be a message. A Date, Map or Promise has no fields, and would pass for an empty message. */
function isObject(value: unknown): value is object {
  return !isRevoked(value) && Object.prototype.toString.call(value) === "[object Object]";
}

function checksOf(desc: DescMessage): ReadonlyMap<string, Check> {
  let fields = checks.get(desc);
  if (fields === undefined) {
    fields = new Map(
      desc.members.map((member) => [
        member.localName,
        member.kind === "oneof" ? oneof(member) : field(member),
      ]),
    );
    checks.set(desc, fields);
  }
  return fields;
}

function field(desc: DescField): Check {
  switch (desc.fieldKind) {
    case "list": {
      const item = element(desc);
      return (value, path) => {
        if (!isArray(value)) throw wrong(path, "an array", value);
        for (let index = 0; index < value.length; index++) item(value[index], () => `${path()}[${index}]`);
      };
    }
    case "map": {
      const item = element(desc);
      const key = mapKey(desc.mapKey);
      return (value, path) => {
        if (!isObject(value)) throw wrong(path, "an object", value);
        for (const [name, entry] of Object.entries(value)) {
          const at = () => `${path()}[${JSON.stringify(shortened(name))}]`;
          key(name, at);
          item(entry, at);
        }
      };
    }
    default:
      return element(desc);
  }
}

/** The check of a field's value, or of one of its elements. */
function element(desc: DescField): Check {
  const { message } = desc;
  if (message !== undefined) {
    switch (representation(desc, message)) {
      case "json":
        return (value, path) => jsonObject(value, path, "a JSON object");
      case "wrapper":
        return scalar(message.fields[0]?.scalar ?? ScalarType.STRING, false);
      case "message":
        return (value, path) => checkMessage(message, value, path);
    }
  }
  // A list or map may hold any number for a closed enum, because protobuf-es decodes them so.
  if (desc.enum !== undefined) return enumeration(desc.enum, desc.enum.open || desc.fieldKind !== "enum");
  return scalar(desc.scalar ?? ScalarType.STRING, longAsString(desc));
}

function oneof(desc: DescOneof): Check {
  const cases = new Map(desc.fields.map((member) => [member.localName, field(member)]));
  return (value, path) => {
    if (typeof value !== "object" || value === null) throw wrong(path, "an object { case, value }", value);
    const { case: name, value: chosen } = value as { case?: unknown; value?: unknown };
    if (name === undefined) return;
    const check = typeof name === "string" ? cases.get(name) : undefined;
    if (check === undefined) throw refusal(`${path()}.case must be one of ${[...cases.keys()].join(", ")}`);
    check(chosen, () => `${path()}.value`);
  };
}

/** @param isOpen - Whether numbers are taken that the enum does not name. */
function enumeration(desc: DescEnum, isOpen: boolean): Check {
  return (value, path) => {
    const isNumber = typeof value === "number" && (value | 0) === value;
    if (isNumber && (isOpen || value in desc.value)) return;
    const named = desc.values.slice(0, MOST_NAMED).map((each) => `${each.localName} = ${each.number}`);
    if (desc.values.length > MOST_NAMED) named.push("…");
    throw refusal(`${path()} must be a value of ${desc.typeName} (${named.join(", ")}), not ${shown(value)}`);
  };
}

/** The most values of an enum that an error names. */
const MOST_NAMED = 10;

function scalar(type: ScalarType, asString: boolean): Check {
  switch (type) {
    case ScalarType.STRING:
      return string;
    case ScalarType.BYTES:
      return (value, path) => {
        const problem = bytesProblem(value);
        if (problem !== undefined) throw refusal(`${path()} ${problem}`);
      };
    case ScalarType.BOOL:
      return (value, path) => {
        if (typeof value !== "boolean") throw wrong(path, "a boolean", value);
      };
    case ScalarType.DOUBLE:
      return number;
    case ScalarType.FLOAT:
      return (value, path) => {
        number(value, path);
        if (Number.isFinite(value) && !Number.isFinite(Math.fround(value as number))) {
          throw refusal(`${path()} is out of the range of a float: ${String(value)}`);
        }
      };
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return integer("an unsigned 32-bit integer", 0, 2 ** 32 - 1);
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
      return int32;
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return long("an unsigned 64-bit integer", 0n, 2n ** 64n - 1n, asString);
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return long("a 64-bit integer", -(2n ** 63n), 2n ** 63n - 1n, asString);
  }
}

const int32 = integer("a 32-bit integer", -(2 ** 31), 2 ** 31 - 1);

function integer(what: string, least: number, most: number): Check {
  return (value, path) => {
    if (typeof value !== "number") throw wrong(path, what, value);
    if (!Number.isInteger(value) || value < least || value > most) {
      throw refusal(`${path()} must be ${what}, not ${value}`);
    }
  };
}

function long(what: string, least: bigint, most: bigint, withJsString: boolean): Check {
  const asString = withJsString || !hasLongs;
  return (value, path) => {
    const bigint = asString && typeof value === "string" && isInteger(value) ? BigInt(value) : value;
    if (typeof bigint !== "bigint")
      throw wrong(path, `${what} as a ${asString ? "string" : "bigint"}`, value);
    if (bigint < least || bigint > most) throw refusal(`${path()} must be ${what}, not ${bigint}`);
  };
}

/** JavaScript objects hold keys as strings, which must still fit the key's type. */
function mapKey(type: ScalarType): Check {
  switch (type) {
    case ScalarType.STRING:
      return string;
    case ScalarType.BOOL:
      return (value, path) => {
        if (value !== "true" && value !== "false") throw refusal(`${path()}: the key must be true or false`);
      };
    default: {
      const check = scalar(type, true);
      const short = SHORT.has(type);
      return (value, path) => {
        if (!isInteger(String(value))) throw refusal(`${path()}: the key must be an integer`);
        check(short ? Number(value) : value, path);
      };
    }
  }
}

const SHORT: ReadonlySet<ScalarType> = new Set([
  ScalarType.INT32,
  ScalarType.SINT32,
  ScalarType.SFIXED32,
  ScalarType.UINT32,
  ScalarType.FIXED32,
]);

function string(value: unknown, path: Path): void {
  if (typeof value !== "string") throw wrong(path, "a string", value);
  if (!value.isWellFormed()) throw refusal(`${path()} has a lone surrogate, which UTF-8 cannot encode`);
}

function number(value: unknown, path: Path): void {
  if (typeof value !== "number") throw wrong(path, "a number", value);
}

function descend(path: Path): void {
  if (++depth > DEPTH_LIMIT) throw refusal(`${label(path)} is nested more than ${DEPTH_LIMIT} deep`);
}

/** Objects, lists and values are each encoded as a message, so each counts as a level of nesting. */
function jsonObject(value: unknown, path: Path, what: string): void {
  if (!isObject(value)) throw wrong(path, what, value);
  if (!isJsonObject(value))
    throw refusal(`${path()} must be ${what}, not an object with toJSON: give what that returns`);
  descend(path);
  for (const [name, item] of Object.entries(value)) {
    const at = () => `${path()}[${JSON.stringify(shortened(name))}]`;
    string(name, at);
    jsonValue(item, at);
  }
  depth--;
}

function jsonValue(value: unknown, path: Path): void {
  descend(path);
  switch (typeof value) {
    case "string":
      string(value, path);
      break;
    case "object":
      if (isArray(value)) {
        descend(path);
        value.forEach((item, index) => jsonValue(item, () => `${path()}[${index}]`));
        depth--;
      } else if (value !== null) jsonObject(value, path, "a JSON value");
      break;
    case "number":
    case "boolean":
    case "undefined":
      break;
    default:
      throw wrong(path, "a JSON value", value);
  }
  depth--;
}

function join(path: Path, name: string): Path {
  return () => {
    // Called once: two calls at each of a hundred levels would take 2^100 steps.
    const before = path();
    return before === "" ? shortened(name) : `${before}.${shortened(name)}`;
  };
}

function label(path: Path): string {
  return path() || "the message";
}

function wrong(path: Path, expected: string, value: unknown): TypeError {
  return refusal(`${label(path)} must be ${expected}, not ${kindOf(value)}`);
}
