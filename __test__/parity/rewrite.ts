import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Random } from "./random.js";

/** The types that Rust reads from no more than 5 bytes. */
const SHORT: ReadonlySet<ScalarType | undefined> = new Set([ScalarType.UINT32, ScalarType.SINT32]);

interface Part {
  readonly no: number;
  readonly bytes: Uint8Array;
}

/**
 * Rewrites a message in another form with the same meaning, as other implementations may write it: fields in any order, a
 * field that a second occurrence overwrites, integers in more bytes than they need, packed lists in pieces and unpacked.
 */
export function rewrite(desc: DescMessage, bytes: Uint8Array, random: Random): Uint8Array {
  const fields = new Map(desc.fields.map((field) => [field.number, field]));
  const parts: Part[] = [];
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [no, wireType] = reader.tag();
    const data = reader.skip(wireType, no);
    const field = fields.get(no);
    for (const part of occurrences(field, no, wireType, data, random)) parts.push({ no, bytes: part });
  }
  return Buffer.concat(shuffle(parts, random).map((part) => part.bytes));
}

/** One or more occurrences of a field with the same meaning as the given one. */
function occurrences(
  field: DescField | undefined,
  no: number,
  wireType: WireType,
  data: Uint8Array,
  random: Random,
): Uint8Array[] {
  const content = wireType === WireType.LengthDelimited ? inside(data) : undefined;
  if (field?.fieldKind === "list" && content !== undefined && isPackable(field)) {
    return unpack(field, content, random).map((part) => part(no));
  }
  // Not in two parts: protobuf merges them, but Rust takes the last.
  if (field?.fieldKind === "message" && content !== undefined && field.message !== undefined) {
    return [delimited(no, rewrite(field.message, content, random))];
  }
  const once =
    wireType === WireType.Varint
      ? tagged(no, overlong(field?.scalar, data, random))
      : tag(no, wireType, data);
  // The last occurrence counts. In a oneof, another field could come between.
  const twice = field !== undefined && isSingular(field) && field.oneof === undefined && random.onceIn(4);
  return twice ? [...occurrenceBefore(field, no, random), once] : [once];
}

/** A value to overwrite. */
function occurrenceBefore(field: DescField, no: number, random: Random): Uint8Array[] {
  switch (field.scalar) {
    case ScalarType.STRING:
    case ScalarType.BYTES:
      return [delimited(no, Buffer.from("overwritten"))];
    case ScalarType.DOUBLE:
      return [new BinaryWriter().tag(no, WireType.Bit64).double(0.5).finish()];
    case ScalarType.FLOAT:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return [];
    default:
      return [tagged(no, overlong(field.scalar, Buffer.from([1]), random))];
  }
}

function isSingular(field: DescField): boolean {
  return field.fieldKind === "scalar" || field.fieldKind === "enum";
}

function isPackable(field: DescField & { readonly fieldKind: "list" }): boolean {
  return (
    field.listKind === "enum" ||
    (field.listKind === "scalar" && field.scalar !== ScalarType.STRING && field.scalar !== ScalarType.BYTES)
  );
}

/** A packed list as several packed lists and single items, in the same order. */
function unpack(field: DescField, content: Uint8Array, random: Random): ((no: number) => Uint8Array)[] {
  const wireType = itemWireType(field.scalar);
  const reader = new BinaryReader(content);
  const groups: Uint8Array[][] = [[]];
  while (reader.pos < reader.len) {
    const item = reader.skip(wireType);
    groups.at(-1)?.push(wireType === WireType.Varint ? overlong(field.scalar, item, random) : item);
    if (random.onceIn(3)) groups.push([]);
  }
  return groups.map((items) => (no) => {
    const [only] = items;
    if (items.length === 1 && only !== undefined && random.onceIn(2)) return tag(no, wireType, only);
    return delimited(no, Buffer.concat(items));
  });
}

function itemWireType(type: ScalarType | undefined): WireType {
  switch (type) {
    case ScalarType.DOUBLE:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return WireType.Bit64;
    case ScalarType.FLOAT:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return WireType.Bit32;
    default:
      return WireType.Varint;
  }
}

/** A varint with redundant bytes at its end. */
function overlong(type: ScalarType | undefined, varint: Uint8Array, random: Random): Uint8Array {
  const most = SHORT.has(type) ? 5 : 10;
  if (!random.onceIn(3) || varint.length >= most) return varint;
  const longer = Buffer.alloc(varint.length + 1 + random.below(most - varint.length), 0x80);
  longer.set(varint);
  longer[varint.length - 1] = (varint.at(-1) ?? 0) | 0x80;
  longer[longer.length - 1] = 0;
  return longer;
}

/** A random order that keeps the order of each field's occurrences. */
function shuffle(parts: readonly Part[], random: Random): Part[] {
  const order = parts.map(({ no }) => no);
  for (let last = order.length - 1; last > 0; last--) {
    const other = random.below(last + 1);
    const [a, b] = [order[last] as number, order[other] as number];
    order[last] = b;
    order[other] = a;
  }
  const queues = new Map<number, Part[]>();
  for (const part of parts) queues.set(part.no, [...(queues.get(part.no) ?? []), part]);
  return order.flatMap((no) => queues.get(no)?.shift() ?? []);
}

/** The content of a length-delimited field. */
function inside(data: Uint8Array): Uint8Array {
  return new BinaryReader(data).bytes();
}

function delimited(no: number, content: Uint8Array): Uint8Array {
  return new BinaryWriter().tag(no, WireType.LengthDelimited).bytes(content).finish();
}

function tagged(no: number, varint: Uint8Array): Uint8Array {
  return tag(no, WireType.Varint, varint);
}

function tag(no: number, wireType: WireType, data: Uint8Array): Uint8Array {
  return new BinaryWriter().tag(no, wireType).raw(data).finish();
}
