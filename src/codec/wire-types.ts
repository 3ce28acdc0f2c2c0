import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { hasLongs } from "./longs.js";
import { ScalarType } from "./scalar-type.js";

/** Wire types: the part of a field's tag that says how its value is encoded. */
export const VARINT = 0;
export const BIT64 = 1;
export const LENGTH = 2;
export const START_GROUP = 3;
export const END_GROUP = 4;
export const BIT32 = 5;

/** Field presence, as descriptors give it: when a field counts as set. */
export const EXPLICIT = 1;
export const IMPLICIT = 2;
export const REQUIRED = 3;

/**
 * The deepest nesting of messages; deeper ones are refused, as protobuf's decoders do. It also stops a message that
 * contains itself.
 */
export const DEPTH_LIMIT = 100;

/**
 * Beyond this many members, reading and listing a message made by create() takes longer than encoding it with
 * protobuf-es.
 */
const TOO_MANY = 15;

/**
 * Whether messages of the type are too large to check for unknown names; plain objects are always checked. V8 keeps a
 * message with many members, made by create(), as a hash table, and listing its names takes as long as encoding it with
 * protobuf-es. create() leaves unknown names out, so only a name added later goes unnoticed. 64-bit integer members do
 * not count, because protobuf-es takes longer for those.
 */
export function isLarge({ members }: DescMessage): boolean {
  return members.length > TOO_MANY && members.filter((member) => !isLong(member)).length > TOO_MANY;
}

/** Whether a member is a single 64-bit integer. */
export function isLong(member: DescMessage["members"][number]): boolean {
  return member.kind === "field" && member.fieldKind === "scalar" && isLongType(member.scalar);
}

function isLongType(type: ScalarType | undefined): boolean {
  switch (type) {
    case ScalarType.INT64:
    case ScalarType.UINT64:
    case ScalarType.SINT64:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return true;
    default:
      return false;
  }
}

/** The wire type of a scalar. */
export function wireTypeOf(type: ScalarType): number {
  switch (type) {
    case ScalarType.STRING:
    case ScalarType.BYTES:
      return LENGTH;
    case ScalarType.DOUBLE:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return BIT64;
    case ScalarType.FLOAT:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return BIT32;
    default:
      return VARINT;
  }
}

/** The tag that precedes a field's value. */
export function tagOf(number: number, wireType: number): number {
  return ((number << 3) | wireType) >>> 0;
}

/** Whether a field represents 64-bit integers as strings. */
export function longAsString(field: DescField): boolean {
  return (
    (field as { longAsString?: boolean }).longAsString === true || (!hasLongs && isLongType(field.scalar))
  );
}

/** The wire types that a field's values may have, as bits. With another one they count as a field that nobody knows. */
export function wireTypesOf(field: DescField): number {
  if (field.fieldKind === "map") return 1 << LENGTH;
  const own = valueWireType(field);
  return field.fieldKind === "list" && own !== START_GROUP ? (1 << own) | (1 << LENGTH) : 1 << own;
}

/** The wire type of one value of a field; for a map, of a value in an entry. */
export function valueWireType(field: DescField): number {
  if (field.message !== undefined) return isDelimited(field) ? START_GROUP : LENGTH;
  return wireTypeOf(field.scalar ?? ScalarType.INT32);
}

/** Whether a field encodes its messages as groups. */
export function isDelimited(field: DescField): boolean {
  return (field as { delimitedEncoding?: boolean }).delimitedEncoding === true;
}
