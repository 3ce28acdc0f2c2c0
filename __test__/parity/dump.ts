import { type DescField, type DescMessage, type Message, ScalarType } from "@bufbuild/protobuf";
import { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

/*
 * Messages as text that is the same for equal values on both sides: rust/src/dump.rs writes the same text. It is made from
 * the message's properties alone, without the codec under test.
 */

type Write = (value: unknown) => string;
type Properties = Record<string, unknown>;

interface FieldPlan {
  /** The value as text; undefined if the field is not set. */
  readonly text: (message: Properties) => string | undefined;
  /** `number:name:type`. */
  readonly signature: string;
}

const plans = new WeakMap<DescMessage, readonly FieldPlan[]>();

/** A message as text. */
export function dump(desc: DescMessage, message: Message): string {
  const properties = message as unknown as Properties;
  const parts: string[] = [];
  for (const { text, signature } of planOf(desc)) {
    const value = text(properties);
    if (value !== undefined) parts.push(`"${signature}":${value}`);
  }
  if (message.$unknown !== undefined && message.$unknown.length > 0)
    parts.push(`"?":${unknown(message.$unknown)}`);
  return `{${parts.join(",")}}`;
}

/** The fields of a type: `number:name:type`, in the order of their numbers. */
export function signatures(desc: DescMessage): string[] {
  return planOf(desc).map(({ signature }) => signature);
}

function planOf(desc: DescMessage): readonly FieldPlan[] {
  let plan = plans.get(desc);
  if (plan === undefined) {
    plan = desc.fields
      .toSorted((a, b) => a.number - b.number)
      .map((field) => ({
        text: textOf(field),
        signature: `${field.number}:${field.name}:${typeOf(field)}`,
      }));
    plans.set(desc, plan);
  }
  return plan;
}

function textOf(field: DescField): FieldPlan["text"] {
  const { localName, oneof } = field;
  const write = element(field);
  if (field.fieldKind === "list") {
    return (message) => {
      const list = message[localName] as unknown[];
      return list.length === 0 ? undefined : `[${list.map(write).join(",")}]`;
    };
  }
  if (field.fieldKind === "map") {
    const key = mapKey(field.mapKey);
    return (message) => {
      const entries = Object.entries(message[localName] as Properties).map(
        ([name, value]) => [Buffer.from(key(name)), write(value)] as const,
      );
      if (entries.length === 0) return undefined;
      // Rust orders strings by their bytes, not by UTF-16 code units.
      entries.sort(([a], [b]) => Buffer.compare(a, b));
      return `[${entries.map(([name, value]) => `[${name.toString()},${value}]`).join(",")}]`;
    };
  }
  if (oneof !== undefined) {
    return (message) => {
      const { case: name, value } = message[oneof.localName] as { case?: string; value?: unknown };
      return name === localName ? write(value) : undefined;
    };
  }
  if (field.presence === FeatureSet_FieldPresence.IMPLICIT) {
    return (message) => {
      const value = message[localName];
      return isZero(value) ? undefined : write(value);
    };
  }
  return (message) =>
    Object.hasOwn(message, localName) && message[localName] !== undefined
      ? write(message[localName])
      : undefined;
}

/** Negative zero counts as a set value. */
function isZero(value: unknown): boolean {
  return (
    Object.is(value, 0) ||
    value === 0n ||
    value === "" ||
    value === false ||
    (value instanceof Uint8Array && value.length === 0)
  );
}

function element(field: DescField): Write {
  const { message } = field;
  if (message !== undefined) return (value) => dump(message, value as Message);
  if (field.enum !== undefined) return (value) => `${value}`;
  return scalar(field.scalar ?? ScalarType.STRING);
}

function scalar(type: ScalarType): Write {
  switch (type) {
    case ScalarType.STRING:
      return (value) => JSON.stringify(value);
    case ScalarType.BYTES:
      return (value) => `"${hex(value as Uint8Array)}"`;
    case ScalarType.DOUBLE:
      return (value) => bits(value as number, 8);
    case ScalarType.FLOAT:
      return (value) => bits(value as number, 4);
    case ScalarType.INT64:
    case ScalarType.UINT64:
    case ScalarType.SINT64:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return (value) => {
        if (typeof value !== "bigint") throw new Error(`a 64-bit integer is a ${typeof value}`);
        return `"${value}"`;
      };
    default:
      return (value) => `${value}`;
  }
}

function bits(value: number, size: 4 | 8): string {
  if (Number.isNaN(value)) return '"NaN"';
  const bytes = Buffer.alloc(size);
  if (size === 4) bytes.writeFloatBE(value);
  else bytes.writeDoubleBE(value);
  return `"${bytes.toString("hex")}"`;
}

/** Keys are strings in JavaScript, whatever their type. */
function mapKey(type: ScalarType): (name: string) => string {
  const quoted: readonly ScalarType[] = [
    ScalarType.STRING,
    ScalarType.INT64,
    ScalarType.UINT64,
    ScalarType.SINT64,
    ScalarType.FIXED64,
    ScalarType.SFIXED64,
  ];
  return quoted.includes(type) ? (name) => JSON.stringify(name) : (name) => name;
}

function typeOf(field: DescField): string {
  const name = field.message?.typeName ?? field.enum?.typeName ?? scalarName(field.scalar);
  if (field.fieldKind === "map") return `map<${scalarName(field.mapKey)},${name}>`;
  return field.fieldKind === "list" ? `${name}[]` : name;
}

function scalarName(type: ScalarType | undefined): string {
  return type === undefined ? "?" : (ScalarType[type] ?? "?").toLowerCase();
}

const WIRE_NAMES: Partial<Record<WireType, string>> = {
  [WireType.Varint]: "varint",
  [WireType.Bit64]: "fixed64",
  [WireType.LengthDelimited]: "bytes",
  [WireType.Bit32]: "fixed32",
};

function unknown(fields: NonNullable<Message["$unknown"]>): string {
  // Rust keeps only the order among values of one number and wire type.
  const sorted = fields.toSorted((a, b) => a.no - b.no || a.wireType - b.wireType);
  const texts = sorted.map(({ no, wireType, data }) => {
    const reader = new BinaryReader(data);
    return `"${no}:${WIRE_NAMES[wireType] ?? wireType}:${unknownValue(reader, wireType)}"`;
  });
  return `[${texts.join(",")}]`;
}

function unknownValue(reader: BinaryReader, wireType: WireType): string {
  switch (wireType) {
    case WireType.Varint:
      return String(reader.uint64());
    case WireType.Bit64:
      return String(reader.fixed64());
    case WireType.Bit32:
      return String(reader.fixed32());
    default:
      return hex(reader.bytes());
  }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}
