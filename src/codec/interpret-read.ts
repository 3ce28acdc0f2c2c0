import type { DescField, DescMessage, JsonObject } from "@bufbuild/protobuf";
import type { Struct } from "@bufbuild/protobuf/wkt";
import { make, zeroOf } from "./make.js";
import { ScalarType } from "./scalar-type.js";
import { refuse } from "./compiled-signals.js";
import type { Read } from "./compile-read.js";
import type { CodecOf } from "./compiled.js";
import { jsonOf, representation } from "./json.js";
import * as wire from "./read.js";
import { elementWeight, ENTRY_WEIGHT, weigh, weightOf } from "./weight.js";
import {
  DEPTH_LIMIT,
  END_GROUP,
  isDelimited,
  LENGTH,
  longAsString,
  START_GROUP,
  tagOf,
  valueWireType,
  wireTypeOf,
  wireTypesOf,
} from "./wire-types.js";

/**
 * Decoders that interpret a message's descriptor. They cost nothing before their first use. They read everything that
 * those of compile-read.ts read, and also what those leave to them: unknown groups, known fields with another wire type,
 * and wrappers that come twice. They have the last word: bytes that they refuse are not a message.
 *
 * They are stricter than protobuf-es, which reads a value of another wire type as if it had its field's own, and reads on
 * past the end of a nested message. Both make other values of the bytes than every other decoder does.
 */

const { cursor } = wire;

type Fields = Record<string, unknown>;

/** A field, and the wire types of its values. */
interface Known {
  readonly field: DescField;
  readonly wireTypes: number;
}

/** Makes the decoder of a message. `codecOf` finds those of its nested messages. */
export function interpretRead(desc: DescMessage, codecOf: CodecOf): Read {
  let fields: ReadonlyMap<number, Known> | undefined;
  let itsWeight = 0;
  return function read(bytes, at, end, target, depth, group) {
    if (depth > DEPTH_LIMIT) refuse(TOO_DEEP);
    if (fields === undefined) {
      fields = new Map(desc.fields.map((field) => [field.number, { field, wireTypes: wireTypesOf(field) }]));
      itsWeight = weightOf(desc);
    }
    weigh(itsWeight);
    const message = target as Fields;
    while (at < end) {
      let tag = bytes[at]!;
      if (tag > 127) {
        tag = wire.size32(bytes, at);
        at = cursor.at;
      } else at++;
      const no = tag >>> 3;
      const wireType = tag & 7;
      checkTag(no, wireType);
      if (wireType === END_GROUP && group !== 0) {
        if (tag !== group) refuse(OTHER_GROUP);
        cursor.at = at;
        return target;
      }
      const known = fields.get(no);
      if (known === undefined || ((known.wireTypes >> wireType) & 1) === 0) {
        const next = skip(bytes, at, end, no, wireType, DEPTH_LIMIT - depth);
        wire.keepUnknown(message, no, wireType, bytes, at, next);
        at = next;
      } else {
        readField(codecOf, bytes, at, end, message, known.field, wireType, depth);
        at = cursor.at;
      }
    }
    if (at !== end || group !== 0) refuse(wire.TOO_SHORT);
    return target;
  };
}

const TOO_DEEP = `it is nested more than ${DEPTH_LIMIT} deep`;
const OTHER_GROUP = "a group ends with the number of another one";

function checkTag(no: number, wireType: number): void {
  if (no === 0 || wireType > 5) refuse(`illegal tag: field no ${no} wire type ${wireType}`);
}

/** Skips a value; returns where it ends. `depth` is how deep groups may still be nested. */
function skip(
  bytes: Uint8Array,
  at: number,
  end: number,
  no: number,
  wireType: number,
  depth: number,
): number {
  if (wireType !== START_GROUP) return wire.skipValue(bytes, at, end, wireType);
  if (depth <= 0) refuse(TOO_DEEP);
  while (at < end) {
    const tag = wire.size32(bytes, at);
    at = cursor.at;
    checkTag(tag >>> 3, tag & 7);
    if ((tag & 7) !== END_GROUP) at = skip(bytes, at, end, tag >>> 3, tag & 7, depth - 1);
    else if (tag !== tagOf(no, END_GROUP)) refuse(OTHER_GROUP);
    // The tag itself may go past the end.
    else if (at <= end) return at;
  }
  refuse(wire.TOO_SHORT);
}

/** Reads a value of a field into the message, and leaves the position after it in the cursor. */
function readField(
  codecOf: CodecOf,
  bytes: Uint8Array,
  at: number,
  end: number,
  message: Fields,
  field: DescField,
  wireType: number,
  depth: number,
): void {
  switch (field.fieldKind) {
    case "list":
      readList(codecOf, bytes, at, end, message[field.localName] as unknown[], field, wireType, depth);
      break;
    case "map":
      readEntry(codecOf, bytes, at, end, message[field.localName] as Fields, field, depth);
      break;
    default: {
      const { oneof, localName } = field;
      let value: unknown;
      if (field.message !== undefined) {
        const before =
          oneof === undefined ? own(message, localName) : caseOf(message, oneof.localName, localName);
        value = readMessage(codecOf, bytes, at, end, field, before, depth);
      } else if (field.enum !== undefined) {
        value = readScalar(bytes, at, end, ScalarType.INT32, false);
        if (!field.enum.open && !Object.hasOwn(field.enum.value, value as number)) {
          wire.unknownEnum(message, field.number, value as number);
          return;
        }
      } else value = readElement(bytes, at, end, field);
      if (oneof === undefined) message[localName] = value;
      else message[oneof.localName] = { case: localName, value };
    }
  }
}

/** A message's own value. A property that every object inherits, such as "hasOwnProperty", is not one. */
function own(message: Fields, name: string): unknown {
  return Object.hasOwn(message, name) ? message[name] : undefined;
}

function caseOf(message: Fields, oneof: string, name: string): unknown {
  const chosen = message[oneof] as { case?: string; value?: unknown };
  return chosen.case === name ? chosen.value : undefined;
}

/** Reads a field's message, into the present one if there is one. */
function readMessage(
  codecOf: CodecOf,
  bytes: Uint8Array,
  at: number,
  end: number,
  field: DescField,
  before: unknown,
  depth: number,
): unknown {
  const desc = field.message!;
  const codec = codecOf(desc);
  const kind = representation(field, desc);
  let message: object;
  if (before === undefined || kind !== "message") {
    message = new codec.Make();
    if (before !== undefined && kind === "wrapper") (message as Fields)["value"] = before;
  } else message = before as object;
  if (isDelimited(field)) {
    codec.read(bytes, at, end, message, depth + 1, tagOf(field.number, END_GROUP));
  } else {
    const stop = wire.lengthEnd(bytes, at, end);
    codec.read(bytes, cursor.at, stop, message, depth + 1, 0);
    cursor.at = stop;
  }
  if (kind === "json") return jsonOf(message as Struct, before as JsonObject | undefined);
  return kind === "wrapper" ? (message as Fields)["value"] : message;
}

function readList(
  codecOf: CodecOf,
  bytes: Uint8Array,
  at: number,
  end: number,
  list: unknown[],
  field: DescField & { fieldKind: "list" },
  wireType: number,
  depth: number,
): void {
  if (field.message !== undefined) {
    list.push(readMessage(codecOf, bytes, at, end, field, undefined, depth));
    return;
  }
  const isText = field.scalar === ScalarType.STRING || field.scalar === ScalarType.BYTES;
  if (wireType !== LENGTH || isText) {
    weigh(elementWeight(field.scalar));
    list.push(readElement(bytes, at, end, field));
    return;
  }
  const stop = wire.lengthEnd(bytes, at, end);
  const each = elementWeight(field.scalar);
  while (cursor.at < stop) {
    weigh(each);
    list.push(readElement(bytes, cursor.at, stop, field));
  }
  if (cursor.at !== stop) refuse(wire.TOO_SHORT);
}

function readEntry(
  codecOf: CodecOf,
  bytes: Uint8Array,
  at: number,
  end: number,
  map: Fields,
  field: DescField & { fieldKind: "map" },
  depth: number,
): void {
  const stop = wire.lengthEnd(bytes, at, end);
  const keyType = wireTypeOf(field.mapKey);
  const valueType = valueWireType(field);
  let key: unknown;
  let value: unknown;
  while (cursor.at < stop) {
    const tag = wire.size32(bytes, cursor.at);
    const no = tag >>> 3;
    const wireType = tag & 7;
    checkTag(no, wireType);
    if (no === 1 && wireType === keyType)
      key = readScalar(bytes, cursor.at, stop, field.mapKey, field.utf8Validation);
    else if (no !== 2 || wireType !== valueType)
      cursor.at = skip(bytes, cursor.at, stop, no, wireType, DEPTH_LIMIT - depth);
    else if (field.message === undefined) value = readElement(bytes, cursor.at, stop, field);
    else value = readMessage(codecOf, bytes, cursor.at, stop, field, value, depth);
  }
  if (cursor.at !== stop) refuse(wire.TOO_SHORT);
  key ??= zeroOf(field.mapKey);
  if (value === undefined) {
    if (field.message !== undefined) {
      weigh(weightOf(field.message));
      const message = make(field.message);
      value =
        representation(field, field.message) === "json" ? jsonOf(message as unknown as Struct) : message;
    } else if (field.enum !== undefined) value = field.enum.values[0]?.number ?? 0;
    else value = zeroOf(field.scalar, longAsString(field));
  }
  weigh(ENTRY_WEIGHT);
  wire.setEntry(map, String(key), value);
}

/** Reads a scalar or an enum value of a field. */
function readElement(bytes: Uint8Array, at: number, end: number, field: DescField): unknown {
  if (field.enum !== undefined) return readScalar(bytes, at, end, ScalarType.INT32, false);
  const value = readScalar(bytes, at, end, field.scalar ?? ScalarType.STRING, field.utf8Validation);
  return longAsString(field) ? String(value) : value;
}

/** Reads a scalar, and leaves the position after it in the cursor. */
function readScalar(bytes: Uint8Array, at: number, end: number, type: ScalarType, strict: boolean): unknown {
  switch (type) {
    case ScalarType.STRING: {
      const stop = wire.lengthEnd(bytes, at, end);
      const value = wire.text(bytes, cursor.at, stop, strict);
      cursor.at = stop;
      return value;
    }
    case ScalarType.BYTES: {
      const stop = wire.lengthEnd(bytes, at, end);
      const value = wire.blob(bytes, cursor.at, stop);
      cursor.at = stop;
      return value;
    }
    case ScalarType.BOOL:
      return wire.longBool(bytes, at);
    case ScalarType.INT32:
      return wire.uint32(bytes, at) | 0;
    case ScalarType.UINT32:
      return wire.uint32(bytes, at);
    case ScalarType.SINT32: {
      const value = wire.uint32(bytes, at);
      return (value >>> 1) ^ -(value & 1);
    }
    case ScalarType.INT64:
      return wire.int64(bytes, at);
    case ScalarType.UINT64:
      return wire.uint64(bytes, at);
    case ScalarType.SINT64:
      return wire.sint64(bytes, at);
    default:
      return readFixed(bytes, at, type);
  }
}

function readFixed(bytes: Uint8Array, at: number, type: ScalarType): unknown {
  switch (type) {
    case ScalarType.FLOAT:
      cursor.at = at + 4;
      return wire.float(bytes, at);
    case ScalarType.FIXED32:
      cursor.at = at + 4;
      return wire.fixed32(bytes, at);
    case ScalarType.SFIXED32:
      cursor.at = at + 4;
      return wire.sfixed32(bytes, at);
    case ScalarType.FIXED64:
      cursor.at = at + 8;
      return wire.fixed64(bytes, at);
    case ScalarType.SFIXED64:
      cursor.at = at + 8;
      return wire.sfixed64(bytes, at);
    default:
      cursor.at = at + 8;
      return wire.double(bytes, at);
  }
}
