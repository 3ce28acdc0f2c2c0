import { type DescField, type DescMessage, fromBinary, type Message } from "@bufbuild/protobuf";
import { BinaryWriter, type WireType } from "@bufbuild/protobuf/wire";
import { DEPTH_LIMIT, isDelimited, wireTypeOf } from "../../src/codec/wire-types.js";

/**
 * What protobuf-es does not check: that nothing goes past the end of what it is in, that varints and lengths are not too
 * long, and that a value has the wire type of its field. A reader of its own, simple and slow, so that it can judge the others.
 */

const [VARINT, BIT64, LENGTH, START, END, BIT32] = [0, 1, 2, 3, 4, 5] as const;
const PACKABLE: ReadonlySet<number> = new Set([VARINT, BIT64, BIT32]);

/** The first number for known fields with another wire type, which no type has: they count as unknown. */
const ELSEWHERE = 400_000_000;

/**
 * Decodes with protobuf-es what it reads as every other decoder does: the message is written anew for that. Throws for
 * malformed bytes.
 */
export function decodeStrictly(desc: DescMessage, bytes: Uint8Array): Message {
  const rewriter = new Rewriter(bytes);
  const message = fromBinary(desc, rewriter.message(desc, bytes.length));
  restore(message, rewriter.moved);
  return message;
}

/** Gives unknown fields that were moved to other numbers their own. */
function restore(value: unknown, moved: readonly Moved[]): void {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return;
  const { $unknown } = value as { $unknown?: { no: number }[] };
  for (const field of $unknown ?? []) Object.assign(field, moved[field.no - ELSEWHERE]);
  Object.values(value).forEach((inside) => restore(inside, moved));
}

interface Moved {
  readonly no: number;
  readonly wireType: number;
  readonly data: Uint8Array;
}

const MALFORMED = new Error("malformed");

class Rewriter {
  readonly moved: Moved[] = [];
  readonly #bytes: Uint8Array;
  #at = 0;
  #depth = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  #enter(): void {
    if (++this.#depth > DEPTH_LIMIT) throw MALFORMED;
  }

  #varint(end: number, bits: 32 | 64): bigint {
    let value = 0n;
    for (let count = 0; ; count++) {
      if (this.#at >= end || count === (bits === 32 ? 5 : 10)) throw MALFORMED;
      const byte = this.#bytes[this.#at++]!;
      value |= BigInt(byte & 127) << BigInt(7 * count);
      if (byte < 128) break;
    }
    if (bits === 32 && value >= 2n ** 32n) throw MALFORMED;
    return value;
  }

  #tag(end: number): { no: number; wireType: number } {
    const tag = Number(this.#varint(end, 32));
    const [no, wireType] = [Math.floor(tag / 8), tag % 8];
    if (no === 0 || wireType > BIT32) throw MALFORMED;
    return { no, wireType };
  }

  /** The end of a value with a length, which must not lie past `end`. */
  #length(end: number): number {
    const length = Number(this.#varint(end, 32));
    if (this.#at + length > end) throw MALFORMED;
    return this.#at + length;
  }

  /** Skips a value, and gives its bytes. */
  #skip(end: number, no: number, wireType: number): Uint8Array {
    const start = this.#at;
    if (wireType === VARINT) this.#varint(end, 64);
    else if (wireType === BIT32) this.#at += 4;
    else if (wireType === BIT64) this.#at += 8;
    else if (wireType === LENGTH) this.#at = this.#length(end);
    else if (wireType === END) throw MALFORMED;
    else {
      this.#enter();
      for (;;) {
        const inside = this.#tag(end);
        if (inside.wireType !== END) this.#skip(end, inside.no, inside.wireType);
        else if (inside.no === no) break;
        else throw MALFORMED;
      }
      this.#depth--;
    }
    if (this.#at > end) throw MALFORMED;
    return this.#bytes.subarray(start, this.#at);
  }

  /** Reads a message up to `end`, or a group up to its end. */
  message(desc: DescMessage, end: number, group?: number): Uint8Array {
    const out = new BinaryWriter();
    const fields = fieldsOf(desc);
    this.#enter();
    while (this.#at < end) {
      const { no, wireType } = this.#tag(end);
      if (wireType === END && no === group) {
        this.#depth--;
        return out.finish();
      }
      const field = fields.get(no);
      if (field === undefined) out.tag(no, wireType as WireType).raw(this.#skip(end, no, wireType));
      else if (!fits(field, wireType)) {
        out.tag(ELSEWHERE + this.moved.length, LENGTH as WireType).bytes(new Uint8Array());
        this.moved.push({ no, wireType, data: this.#skip(end, no, wireType) });
      } else {
        out.tag(no, wireType as WireType);
        this.#value(out, field, wireType, end);
      }
    }
    if (this.#at !== end || group !== undefined) throw MALFORMED;
    this.#depth--;
    return out.finish();
  }

  #value(out: BinaryWriter, field: DescField, wireType: number, end: number): void {
    if (field.fieldKind === "map") out.bytes(this.#entry(field, this.#length(end)));
    else if (field.message !== undefined && wireType === START) {
      out.raw(this.message(field.message, end, field.number)).tag(field.number, END as WireType);
    } else if (field.message !== undefined) out.bytes(this.message(field.message, this.#length(end)));
    else if (wireType === LENGTH && PACKABLE.has(scalarType(field))) {
      const stop = this.#length(end);
      const start = this.#at;
      while (this.#at < stop) this.#skip(stop, field.number, scalarType(field));
      out.bytes(this.#bytes.subarray(start, stop));
    } else out.raw(this.#skip(end, field.number, wireType));
  }

  #entry(field: DescField & { fieldKind: "map" }, end: number): Uint8Array {
    const out = new BinaryWriter();
    while (this.#at < end) {
      const { no, wireType } = this.#tag(end);
      if (no === 2 && field.message !== undefined && wireType === LENGTH)
        out.tag(no, wireType as WireType).bytes(this.message(field.message, this.#length(end)));
      else {
        const data = this.#skip(end, no, wireType);
        const type = no === 1 ? wireTypeOf(field.mapKey) : scalarType(field);
        if (no <= 2 && wireType === type) out.tag(no, wireType as WireType).raw(data);
      }
    }
    return out.finish();
  }
}

const known = new WeakMap<DescMessage, ReadonlyMap<number, DescField>>();

function fieldsOf(desc: DescMessage): ReadonlyMap<number, DescField> {
  const fields = known.get(desc) ?? new Map(desc.fields.map((field) => [field.number, field]));
  known.set(desc, fields);
  return fields;
}

/** The wire type of one value of a field. */
function scalarType(field: DescField): number {
  if (field.message !== undefined) return isDelimited(field) ? START : LENGTH;
  return field.enum === undefined ? wireTypeOf(field.scalar!) : VARINT;
}

function fits(field: DescField, wireType: number): boolean {
  if (field.fieldKind === "map") return wireType === LENGTH;
  const type = scalarType(field);
  return wireType === type || (field.fieldKind === "list" && PACKABLE.has(type) && wireType === LENGTH);
}
