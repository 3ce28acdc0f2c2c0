import type { DescMessage } from "@bufbuild/protobuf";
import { ScalarType } from "./scalar-type.js";
import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import { isLong } from "./wire-types.js";

/** The most that any message may take besides its strings and bytes: enough for 4 MiB of all but the smallest fields. */
export const WEIGHT_LIMIT = 64 << 20;

/**
 * What a message that is being decoded takes in memory, besides the bytes of its strings and bytes fields. Two bytes on the wire
 * can become an object of two hundred, so the size of a message says little of it. Each object is weighed when it is made;
 * decoding ends as soon as all are too heavy. The weights are rounded from V8's sizes on 64 bits.
 */
export const weight = {
  /** Bytes of the message that is being decoded, or was decoded last. */
  bytes: 0,
  /** The most that it may have. */
  limit: WEIGHT_LIMIT,
};

/** Thrown by decoders for a message that is too heavy. It has no stack, so throwing it is cheap. */
export const TOO_HEAVY = Symbol("too heavy");

/** A Uint8Array with memory of its own. */
export const BYTES_WEIGHT = 200;
/** An unknown field, and its bytes. */
export const UNKNOWN_WEIGHT = 72 + BYTES_WEIGHT;
/** An entry of a map, and its key. */
export const ENTRY_WEIGHT = 96;
const LONG_WEIGHT = 32;
const TEXT_WEIGHT = 32;
const NUMBER_WEIGHT = 16;

/** Adds to the weight of the message that is being decoded. */
export function weigh(bytes: number): void {
  if ((weight.bytes += bytes) > weight.limit) throw TOO_HEAVY;
}

/** The weight of a message, with its place in a list. Its 64-bit integers are weighed as if all were set. */
export function weightOf({ members }: DescMessage): number {
  let sum = 48;
  for (const member of members) {
    if (member.kind === "oneof") sum += 48;
    else if (isLong(member)) sum += LONG_WEIGHT;
    else if (member.fieldKind === "list") sum += 40;
    else sum += member.fieldKind === "map" ? 64 : 8;
  }
  return sum;
}

/** The weight of an element in a list of scalars. Those of bytes are weighed when they are read. */
export function elementWeight(type: ScalarType | undefined): number {
  switch (type) {
    case ScalarType.STRING:
      return TEXT_WEIGHT;
    case ScalarType.INT64:
    case ScalarType.UINT64:
    case ScalarType.SINT64:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return LONG_WEIGHT;
    default:
      return NUMBER_WEIGHT;
  }
}

/** The limit of the next message. */
let allowed = WEIGHT_LIMIT;

/** Has the messages until {@link settle} weigh up to `limit`, and no more than any message may. */
export function allow(limit: number): void {
  weight.bytes = 0;
  allowed = Math.min(limit, WEIGHT_LIMIT);
}

/** Lifts the limit, and returns the weight of the message that was decoded since. Bytes alone weigh nothing. */
export function settle(): number {
  allowed = WEIGHT_LIMIT;
  return weight.bytes;
}

/** Begins to weigh a message. */
export function weighAnew(): void {
  weight.bytes = 0;
  weight.limit = allowed;
}

/** The error of a message that is too heavy. */
export function tooHeavy({ typeName }: DescMessage): TtrpcError {
  const most = Math.max(weight.limit, 0);
  const text = `cannot decode ${typeName}: its fields would take more than ${most} bytes of memory`;
  return new TtrpcError(text, Code.ResourceExhausted);
}
