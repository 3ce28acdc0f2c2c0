import { isBytes } from "../value-kinds.js";
import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { make } from "./make.js";
import { ScalarType } from "./scalar-type.js";
import { BAIL } from "./compiled-signals.js";
import type { Write } from "./compile-write.js";
import type { CodecOf } from "./compiled.js";
import { representation, structOf } from "./json.js";
import {
  DEPTH_LIMIT,
  END_GROUP,
  IMPLICIT,
  isDelimited,
  isLarge,
  LENGTH,
  longAsString,
  REQUIRED,
  START_GROUP,
  tagOf,
  wireTypeOf,
} from "./wire-types.js";
import * as wire from "./write.js";

/**
 * Encoders that interpret a message's descriptor. They cost nothing before their first use, and accept and refuse
 * exactly what those of compile-write.ts do.
 */

type Fields = Record<string, unknown>;

/** A field, and the room that its last value's length took. */
interface Slot {
  readonly field: DescField;
  room: number;
}

/** Makes the encoder of a message. `codecOf` finds those of its nested messages. */
export function interpretWrite(desc: DescMessage, codecOf: CodecOf): Write {
  let slots: Slot[] | undefined;
  let names: ReadonlySet<string> | undefined;
  let prototype: object | undefined;
  let passes: boolean | undefined;
  const own = () => (prototype ??= Object.getPrototypeOf(make(desc)) as object);
  return function write(bytes, at, value, depth) {
    if (value === null || typeof value !== "object" || depth > DEPTH_LIMIT) throw BAIL;
    const message = value as Fields;
    const ofMessage = Object.getPrototypeOf(message) as object | null;
    const isPlain = ofMessage === Object.prototype;
    const isMessage = message["$typeName"] !== undefined;
    // Whether the message inherits the defaults of unset fields.
    let inherits = false;
    if (isMessage) {
      if (message["$typeName"] !== desc.typeName) throw BAIL;
      inherits = !isPlain;
      if (inherits && ofMessage !== own()) throw BAIL;
    } else if (!isPlain && ofMessage !== null) {
      if (ofMessage === own()) throw BAIL;
      wire.checkPlain(message);
    }
    // The number of properties that were read.
    let seen = isMessage ? 1 : 0;
    let chosen: Map<DescField, unknown> | undefined;
    for (const { localName, fields } of desc.oneofs) {
      const oneof = get(message, localName);
      if (oneof === undefined) continue;
      seen++;
      if (typeof oneof !== "object" || oneof === null) throw BAIL;
      const name = (oneof as Fields)["case"];
      if (name === undefined) continue;
      const field = fields.find((each) => each.localName === name);
      if (field === undefined) throw BAIL;
      (chosen ??= new Map<DescField, unknown>()).set(field, (oneof as Fields)["value"]);
    }
    slots ??= slotsOf(desc);
    for (const slot of slots) {
      const { field } = slot;
      if (field.oneof !== undefined) {
        if (chosen?.has(field)) at = writeOne(codecOf, bytes, at, slot, chosen.get(field), depth);
        continue;
      }
      const content = get(message, field.localName);
      if (
        content === undefined ||
        (inherits && field.message === undefined && !Object.hasOwn(message, field.localName))
      ) {
        if (field.presence === REQUIRED) throw BAIL;
        continue;
      }
      seen++;
      if (field.fieldKind === "list") at = writeList(codecOf, bytes, at, slot, content, depth);
      else if (field.fieldKind === "map") at = writeMap(codecOf, bytes, at, slot, content, depth);
      else if (field.presence !== IMPLICIT || !isZero(field, content))
        at = writeOne(codecOf, bytes, at, slot, content, depth);
    }
    const unknown = message["$unknown"];
    if (unknown !== undefined) {
      seen++;
      if (isMessage) at = wire.unknownFields(bytes, at, unknown);
    }
    if (isMessage && (passes ??= isLarge(desc))) return at;
    if (seen !== (isMessage ? Object.keys(message).length : countNames(message))) {
      names ??= new Set(desc.members.map(({ localName }) => localName));
      wire.checkNames(message, names);
    }
    return at;
  };
}

function slotsOf({ fields }: DescMessage): Slot[] {
  return fields.map((field) => ({ field, room: 1 })).toSorted((a, b) => a.field.number - b.field.number);
}

/** The number of an object's properties, inherited ones included. */
function countNames(value: object): number {
  let count = 0;
  for (const name in value) if (name !== undefined) count++;
  return count;
}

/** A member's value. A property that every object inherits, such as "hasOwnProperty", is not one. */
function get(message: Fields, name: string): unknown {
  const value = message[name];
  if (typeof value !== "function" && name !== "__proto__") return value;
  return Object.hasOwn(message, name) ? value : undefined;
}

/** Whether a field without presence has its default. A value of a wrong type is not the default. */
function isZero(field: DescField, value: unknown): boolean {
  if (field.enum !== undefined) return value === (field.enum.values[0]?.number ?? 0);
  switch (field.scalar) {
    case ScalarType.BOOL:
      return value === false;
    case ScalarType.STRING:
      return value === "";
    case ScalarType.BYTES:
      return isBytes(value) && !wire.hasBytes(value);
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return Object.is(value, 0);
    case ScalarType.INT64:
    case ScalarType.UINT64:
    case ScalarType.SINT64:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return value === 0n || (longAsString(field) && wire.longOf(value) === 0n);
    default:
      return value === 0;
  }
}

/** Writes a value of a singular field, or one of a list that is not packed, with its tag. */
function writeOne(
  codecOf: CodecOf,
  bytes: Uint8Array,
  at: number,
  slot: Slot,
  value: unknown,
  depth: number,
): number {
  const { field } = slot;
  if (field.message === undefined) {
    const type = field.enum === undefined ? (field.scalar ?? ScalarType.STRING) : ScalarType.INT32;
    at = wire.uint32(bytes, at, tagOf(field.number, wireTypeOf(type)));
    if (field.fieldKind === "enum" && !field.enum.open && !wire.isValueOf(field.enum, value)) throw BAIL;
    return writeScalar(bytes, at, type, longAsString(field) ? wire.longOf(value) : value);
  }
  if (isDelimited(field)) {
    at = wire.uint32(bytes, at, tagOf(field.number, START_GROUP));
    at = writeBody(codecOf, bytes, at, field, value, depth);
    return wire.uint32(bytes, at, tagOf(field.number, END_GROUP));
  }
  at = wire.uint32(bytes, at, tagOf(field.number, LENGTH));
  const start = at + slot.room;
  return close(bytes, at, start, writeBody(codecOf, bytes, start, field, value, depth), slot);
}

/** Writes the body of a field's message. */
function writeBody(
  codecOf: CodecOf,
  bytes: Uint8Array,
  at: number,
  field: DescField,
  value: unknown,
  depth: number,
): number {
  const message = field.message!;
  const codec = codecOf(message);
  switch (representation(field, message)) {
    case "json":
      if (value === null || typeof value !== "object" || Array.isArray(value)) throw BAIL;
      return codec.write(bytes, at, structOf(value as Parameters<typeof structOf>[0]), depth + 1);
    case "wrapper":
      if (value === undefined) throw BAIL;
      return codec.write(bytes, at, { value }, depth);
    case "message":
      return codec.write(bytes, at, value, depth + 1);
  }
}

/** Writes the length of what lies between `start` and `end`, and remembers the room that it took for the next value. */
function close(bytes: Uint8Array, at: number, start: number, end: number, slot: Slot): number {
  const after = wire.close(bytes, at, start, end);
  slot.room = after - at - (end - start);
  return after;
}

function writeList(
  codecOf: CodecOf,
  bytes: Uint8Array,
  at: number,
  slot: Slot,
  list: unknown,
  depth: number,
): number {
  if (!Array.isArray(list)) throw BAIL;
  const { field } = slot;
  if (field.fieldKind !== "list" || !field.packed) {
    for (let index = 0; index < list.length; index++)
      at = writeOne(codecOf, bytes, at, slot, list[index], depth);
    return at;
  }
  if (list.length === 0) return at;
  const type = field.scalar ?? ScalarType.INT32;
  const asString = longAsString(field);
  at = wire.uint32(bytes, at, tagOf(field.number, LENGTH));
  const start = at + slot.room;
  let end = start;
  for (let index = 0; index < list.length; index++)
    end = writeScalar(bytes, end, type, asString ? wire.longOf(list[index]) : list[index]);
  return close(bytes, at, start, end, slot);
}

function writeMap(
  codecOf: CodecOf,
  bytes: Uint8Array,
  at: number,
  slot: Slot,
  value: unknown,
  depth: number,
): number {
  const { field } = slot;
  if (field.fieldKind !== "map" || value === null || typeof value !== "object") throw BAIL;
  if (Object.getPrototypeOf(value) !== Object.prototype) wire.checkPlain(value);
  const map = value as Fields;
  for (const key of Object.keys(map)) {
    at = wire.uint32(bytes, at, tagOf(field.number, LENGTH));
    const start = at + slot.room;
    let end = wire.uint32(bytes, start, tagOf(1, wireTypeOf(field.mapKey)));
    end = writeScalar(bytes, end, field.mapKey, wire.mapKey(field.mapKey, key));
    const item = map[key];
    if (field.message === undefined) {
      const type = field.enum === undefined ? field.scalar : ScalarType.INT32;
      end = wire.uint32(bytes, end, tagOf(2, wireTypeOf(type)));
      end = writeScalar(bytes, end, type, longAsString(field) ? wire.longOf(item) : item);
    } else {
      end = wire.uint32(bytes, end, tagOf(2, LENGTH));
      const body = end + slot.room;
      end = wire.close(bytes, end, body, writeBody(codecOf, bytes, body, field, item, depth));
    }
    at = close(bytes, at, start, end, slot);
  }
  return at;
}

function writeScalar(bytes: Uint8Array, at: number, type: ScalarType, value: unknown): number {
  switch (typeof value) {
    case "string":
      if (type !== ScalarType.STRING) throw BAIL;
      return wire.text(bytes, at, value);
    case "boolean":
      if (type !== ScalarType.BOOL) throw BAIL;
      bytes[at] = value ? 1 : 0;
      return at + 1;
    case "number":
      return writeNumber(bytes, at, type, value);
    case "bigint":
      return writeBigInt(bytes, at, type, value);
    default:
      if (type !== ScalarType.BYTES || !isBytes(value)) throw BAIL;
      return wire.blob(bytes, at, value);
  }
}

function writeNumber(bytes: Uint8Array, at: number, type: ScalarType, value: number): number {
  switch (type) {
    case ScalarType.DOUBLE:
      return wire.double(bytes, at, value);
    case ScalarType.FLOAT:
      return wire.float(bytes, at, value);
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
      if ((value | 0) !== value) throw BAIL;
      if (type === ScalarType.INT32) return wire.int32(bytes, at, value);
      if (type === ScalarType.SFIXED32) return wire.fixed32(bytes, at, value);
      return wire.uint32(bytes, at, ((value << 1) ^ (value >> 31)) >>> 0);
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      if (value >>> 0 !== value) throw BAIL;
      return type === ScalarType.UINT32 ? wire.uint32(bytes, at, value) : wire.fixed32(bytes, at, value);
    default:
      throw BAIL;
  }
}

function writeBigInt(bytes: Uint8Array, at: number, type: ScalarType, value: bigint): number {
  switch (type) {
    case ScalarType.INT64:
      return wire.int64(bytes, at, value);
    case ScalarType.UINT64:
      return wire.uint64(bytes, at, value);
    case ScalarType.SINT64:
      return wire.sint64(bytes, at, value);
    case ScalarType.FIXED64:
      return wire.fixed64(bytes, at, value);
    case ScalarType.SFIXED64:
      return wire.sfixed64(bytes, at, value);
    default:
      throw BAIL;
  }
}
