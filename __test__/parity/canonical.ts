import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/**
 * Why two correct encodings of one value may differ between Rust's crate and other implementations:
 *
 * - `map`: Rust writes the entries of a map in the order of its hash table;
 * - `unknown`: likewise the unknown fields, after the known ones;
 * - `oneof`: Rust writes the field of a oneof after all others, not in the order of numbers;
 * - `negative zero`: Rust treats a negative zero without presence as zero when it writes, and leaves it out;
 * - `negative enum`: Rust writes a wrong length before a packed list of enum values if one of them is negative, so that
 *   its output is not a message.
 *
 * The last two are bugs of rust-protobuf 3.7. With them, only the value that Rust decodes can be compared.
 */
export type Freedom = "map" | "unknown" | "oneof" | "negative zero" | "negative enum";

/** Encoded bytes without the differences that implementations are free to make. */
export interface Canonical {
  readonly bytes: Uint8Array;
  /** The freedoms that the message gives. */
  readonly freedoms: ReadonlySet<Freedom>;
  /** Whether the known fields were in the order of their numbers, and the unknown ones after them. */
  readonly ordered: boolean;
}

interface Item {
  readonly no: number;
  /** 0 for known fields; for unknown ones, in the order of their wire types. */
  readonly rank: number;
  readonly bytes: Uint8Array;
  readonly isMap: boolean;
}

/**
 * Sorts the fields of a message and of the messages in it, and the entries of maps; leaves out negative zeros without
 * presence. Nothing else changes: values, the order of lists, and repeated occurrences stay as they are.
 */
export function canonical(desc: DescMessage, bytes: Uint8Array): Canonical {
  const freedoms = new Set<Freedom>();
  let ordered = true;

  const message = (type: DescMessage, encoded: Uint8Array): Uint8Array => {
    const fields = new Map(type.fields.map((field) => [field.number, field]));
    const items: Item[] = [];
    let last = { known: true, no: 0 };
    let unknown = 0;
    const entries = new Map<number, number>();
    const reader = new BinaryReader(encoded);
    while (reader.pos < reader.len) {
      const [no, wireType] = reader.tag();
      const data = reader.skip(wireType, no);
      const field = fields.get(no);
      const known = field !== undefined && fits(field, wireType);
      if (known && (!last.known || no < last.no)) ordered = false;
      last = { known, no };
      if (!known) {
        unknown++;
        items.push({ no, rank: 1 + wireType, bytes: write(no, wireType, data), isMap: false });
        continue;
      }
      if (field.oneof !== undefined) freedoms.add("oneof");
      if (isNegativeZero(field, data)) {
        freedoms.add("negative zero");
        continue;
      }
      if (field.fieldKind === "list" && field.enum !== undefined && hasNegative(data, wireType)) {
        freedoms.add("negative enum");
      }
      let content = data;
      if (field.fieldKind === "map") {
        entries.set(no, (entries.get(no) ?? 0) + 1);
        content = delimited(entry(field, inside(data)));
      } else if (field.message !== undefined) {
        content = delimited(message(field.message, inside(data)));
      }
      items.push({ no, rank: 0, bytes: write(no, wireType, content), isMap: field.fieldKind === "map" });
    }
    if (unknown > 1) freedoms.add("unknown");
    if ([...entries.values()].some((count) => count > 1)) freedoms.add("map");
    items.sort(
      (a, b) =>
        Number(a.rank > 0) - Number(b.rank > 0) ||
        a.no - b.no ||
        a.rank - b.rank ||
        (a.isMap ? Buffer.compare(a.bytes, b.bytes) : 0),
    );
    return Buffer.concat(items.map((item) => item.bytes));
  };

  const entry = (field: DescField & { readonly fieldKind: "map" }, encoded: Uint8Array): Uint8Array => {
    if (field.message === undefined) return encoded;
    const reader = new BinaryReader(encoded);
    const parts: Uint8Array[] = [];
    while (reader.pos < reader.len) {
      const [no, wireType] = reader.tag();
      const data = reader.skip(wireType, no);
      const isValue = no === 2 && wireType === WireType.LengthDelimited;
      parts.push(write(no, wireType, isValue ? delimited(message(field.message, inside(data))) : data));
    }
    return Buffer.concat(parts);
  };

  const sorted = message(desc, bytes);
  return { bytes: sorted, freedoms, ordered };
}

/** Whether a field may have this wire type. Otherwise it counts as an unknown one. */
function fits(field: DescField, wireType: WireType): boolean {
  return field.message === undefined || wireType === WireType.LengthDelimited;
}

function isNegativeZero(field: DescField, data: Uint8Array): boolean {
  return (
    (field.scalar === ScalarType.DOUBLE || field.scalar === ScalarType.FLOAT) &&
    field.presence === FeatureSet_FieldPresence.IMPLICIT &&
    field.fieldKind === "scalar" &&
    data.at(-1) === 0x80 &&
    data.subarray(0, -1).every((byte) => byte === 0)
  );
}

function hasNegative(data: Uint8Array, wireType: WireType): boolean {
  if (wireType !== WireType.LengthDelimited) return false;
  const reader = new BinaryReader(inside(data));
  while (reader.pos < reader.len) if (reader.int32() < 0) return true;
  return false;
}

/** The content of a length-delimited field. */
function inside(data: Uint8Array): Uint8Array {
  return new BinaryReader(data).bytes();
}

function delimited(content: Uint8Array): Uint8Array {
  return new BinaryWriter().bytes(content).finish();
}

function write(no: number, wireType: WireType, data: Uint8Array): Uint8Array {
  return new BinaryWriter().tag(no, wireType).raw(data).finish();
}
