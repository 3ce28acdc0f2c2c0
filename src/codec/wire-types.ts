import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";

/** What a field's tag says of how its value is written. */
export const VARINT = 0;
export const BIT64 = 1;
export const LENGTH = 2;
export const START_GROUP = 3;
export const END_GROUP = 4;
export const BIT32 = 5;

/** How descriptors say when a field counts as set. */
export const EXPLICIT = 1;
export const IMPLICIT = 2;
export const REQUIRED = 3;

/** Nesting beyond this is refused, as protobuf's decoders do. It also ends a message that holds itself. */
export const DEPTH_LIMIT = 100;

/** Beyond so many members, reading and listing a message that create() made takes longer than protobuf-es. */
const TOO_MANY = 15;

/**
 * Whether names that are not the type's pass in its messages, though not in plain objects. V8 keeps a message of many
 * members that create() made as a hash table, and to list what is in there takes as long as all that protobuf-es does to
 * encode it. create() leaves such names out, so only one that was put in later passes. Members that are 64-bit integers
 * do not count: over these protobuf-es takes longer.
 */
export function isLarge({ members }: DescMessage): boolean {
  return members.length > TOO_MANY && members.filter((member) => !isLong(member)).length > TOO_MANY;
}

function isLong(member: DescMessage["members"][number]): boolean {
  if (member.kind === "oneof" || member.fieldKind !== "scalar") return false;
  switch (member.scalar) {
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

/** The number that stands before a field's value. */
export function tagOf(number: number, wireType: number): number {
  return ((number << 3) | wireType) >>> 0;
}

/** Whether a field has 64-bit integers as texts. */
export function longAsString(field: DescField): boolean {
  return (field as { longAsString?: boolean }).longAsString === true;
}

/** Whether a field has its messages as groups. */
export function isDelimited(field: DescField): boolean {
  return (field as { delimitedEncoding?: boolean }).delimitedEncoding === true;
}
