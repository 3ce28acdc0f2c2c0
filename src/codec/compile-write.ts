import type { DescEnum, DescField, DescMessage } from "@bufbuild/protobuf";
import { make } from "./make.js";
import { ScalarType } from "./scalar-type.js";
import { BAIL } from "./compiled-signals.js";
import type { Codec, CodecOf } from "./compiled.js";
import { representation, structOf } from "./json.js";
import { quote, Scope } from "./compiled-scope.js";
import {
  BIT32,
  BIT64,
  DEPTH_LIMIT,
  END_GROUP,
  EXPLICIT,
  IMPLICIT,
  isDelimited,
  isLarge,
  LENGTH,
  longAsString,
  START_GROUP,
  VARINT,
} from "./wire-types.js";
import { each, jsTypeOf, small, tag, tagBytes } from "./write-code.js";
import * as wire from "./write.js";
import { isBytes } from "../value-kinds.js";

/**
 * Writes a message at `at` and returns where it ends, which is past the end of the bytes if there was no room. Throws
 * BAIL, or any other value, for input that protobuf-es must handle. `depth` is 1 for the outermost message.
 */
export type Write = (bytes: Uint8Array, at: number, message: unknown, depth: number) => number;

/** From this many members on, V8 keeps messages made by create() in a hash table. */
const MANY = 12;

/** Compiles the encoder of a message. */
export function compileWrite(desc: DescMessage, codecOf: CodecOf): Write {
  return new WriteCompiler(desc, codecOf).compile();
}

/** How a scalar is written. */
interface Scalar {
  readonly wireType: number;
  /** Code that refuses a wrong `v`. */
  readonly check: string;
  /** Code that writes `v`. */
  readonly write: string;
}

class WriteCompiler {
  readonly #scope = new Scope();
  /** Declarations that live as long as the function. */
  readonly #outer: string[] = [];
  readonly #desc: DescMessage;
  readonly #codecOf: CodecOf;
  /** The prototype that holds the defaults of unset fields, if protobuf-es uses one. */
  readonly #prototype: object | undefined;
  readonly #bail: string;

  constructor(desc: DescMessage, codecOf: CodecOf) {
    this.#desc = desc;
    this.#codecOf = codecOf;
    const prototype = Object.getPrototypeOf(make(desc)) as object;
    this.#prototype = prototype === Object.prototype ? undefined : prototype;
    this.#bail = `throw ${this.#use(BAIL)};`;
  }

  #use(value: unknown): string {
    return this.#scope.name(value);
  }

  compile(): Write {
    const desc = this.#desc;
    const bail = this.#bail;
    const known = this.#use(new Set(desc.members.map(({ localName }) => localName)));
    const plain = this.#use(Object.prototype);
    const own = this.#prototype && this.#use(this.#prototype);
    const fields = desc.fields.toSorted((a, b) => a.number - b.number).map((field) => this.#field(field));
    const oneofs = desc.oneofs.map((_, index) => `if (c${index} !== undefined && !h${index}) ${bail}`);
    const loop = "for (const name in m) n--;";
    const keys = `n -= ${this.#use(Object.keys)}(m).length;`;
    // A large message made by create() is slow to list. Object.keys is faster, but sees no inherited names.
    const isWhole =
      own === undefined ? (desc.members.length > MANY ? "t !== undefined" : "") : `p === ${own}`;
    const list = isWhole === "" ? loop : `if (${isWhole}) ${keys} else ${loop}`;
    const count = isLarge(desc) ? `if (t === undefined) ${loop} else n = 0;` : list;
    // `n` is the number of properties that were read minus the number that exist.
    const body = `
      if (m === null || typeof m !== "object" || d > ${DEPTH_LIMIT}) ${bail}
      const p = ${this.#use(Object.getPrototypeOf)}(m);
      const t = m.$typeName;
      let n = 0, v;
      if (t !== undefined) {
        if (t !== ${quote(desc.typeName)} || (p !== ${plain} && p !== ${own ?? null})) ${bail}
        n = 1;
      } else if (p !== ${plain} && p !== null) ${own === undefined ? "" : `if (p === ${own}) ${bail} else`} {
        ${this.#use(wire.checkPlain)}(m);
      }
      ${fields.join("\n")}
      ${oneofs.join("\n")}
      v = m.$unknown;
      if (v !== undefined) {
        n++;
        if (t !== undefined) at = ${this.#use(wire.unknownFields)}(b, at, v);
      }
      ${count}
      if (n !== 0) ${this.#use(wire.checkNames)}(m, ${known});
      return at;`;
    return this.#scope.run(`${this.#outer.join("")} return function write(b, at, m, d) {${body}}`);
  }

  #field(field: DescField): string {
    if (field.oneof !== undefined) return this.#oneofMember(field);
    const seen = `v = ${this.#get(field.localName)};`;
    switch (field.fieldKind) {
      case "list":
        return `${seen} if (v !== undefined) { n++; ${this.#list(field)} }`;
      case "map":
        return `${seen} if (v !== undefined) { n++; ${this.#map(field)} }`;
      default: {
        const value = this.#value(field);
        const long = this.#longField(field);
        if (long !== undefined) return `${seen} if (v !== undefined) { n++; ${long} }`;
        if (field.presence === IMPLICIT) {
          return `${seen} if (v !== undefined) { n++; ${value.check} if (${this.#isSet(field)}) {${value.write}} }`;
        }
        const unset = field.presence === EXPLICIT ? "" : `else ${this.#bail}`;
        return `${seen} if (v !== undefined ${this.#isOwn(field)}) { n++; ${value.check} ${value.write} } ${unset}`;
      }
    }
  }

  /** Code that writes a 64-bit integer `v` and its tag at once, for implicit presence and low field numbers only. */
  #longField(field: DescField): string | undefined {
    if (field.presence !== IMPLICIT || field.fieldKind !== "scalar" || field.longAsString) return undefined;
    const write = LONG_FIELDS.get(field.scalar);
    const [first = 0, second = 0, third] = tagBytes(field.number, VARINT);
    if (write === undefined || third !== undefined) return undefined;
    return `at = ${this.#use(write)}(b, at, v, ${first | (second << 8)});`;
  }

  /** Code of a member's value. A property that every object inherits, such as "hasOwnProperty", is not one. */
  #get(localName: string): string {
    const value = `m[${quote(localName)}]`;
    if (!(localName in Object.prototype)) return value;
    return `${this.#use(Object.hasOwn)}(m, ${quote(localName)}) ? ${value} : undefined`;
  }

  /** Code to append to a condition: whether the field is set on the message itself, not only on the prototype. */
  #isOwn(field: DescField): string {
    if (this.#prototype === undefined || field.fieldKind === "message") return "";
    const name = quote(field.localName);
    const initial = (this.#prototype as Record<string, unknown>)[field.localName];
    const differs = Number.isNaN(initial) ? "" : `v !== ${this.#use(initial)} ||`;
    return `&& (${differs} p !== ${this.#use(this.#prototype)} || ${this.#use(Object.hasOwn)}(m, ${name}))`;
  }

  #isSet(field: DescField): string {
    if (field.fieldKind === "enum") return `v !== ${field.enum.values[0]?.number ?? 0}`;
    switch (field.scalar) {
      case ScalarType.BOOL:
        return "v";
      case ScalarType.STRING:
        return 'v !== ""';
      case ScalarType.BYTES:
        return `v.length > 0 || ${this.#use(wire.hasBytes)}(v)`;
      case ScalarType.DOUBLE:
      case ScalarType.FLOAT:
        return "v !== 0 || 1 / v < 0";
      case ScalarType.INT64:
      case ScalarType.UINT64:
      case ScalarType.SINT64:
      case ScalarType.FIXED64:
      case ScalarType.SFIXED64:
        return "v !== 0n";
      default:
        return "v !== 0";
    }
  }

  #oneofMember(field: DescField): string {
    const { oneof } = field;
    if (oneof === undefined) return "";
    const index = this.#desc.oneofs.indexOf(oneof);
    const first = oneof.fields.every((other) => other.number >= field.number);
    const { check, write } = this.#value(field);
    const open = `let c${index}, h${index} = false; const o${index} = ${this.#get(oneof.localName)};
      if (o${index} !== undefined) {
        n++;
        if (typeof o${index} !== "object" || o${index} === null) ${this.#bail}
        c${index} = o${index}.case;
      }`;
    return `${first ? open : ""} if (c${index} === ${quote(field.localName)}) {
      h${index} = true; v = o${index}.value; ${check} ${write}
    }`;
  }

  /** The code that checks and writes one value `v` of a field, with its tag. */
  #value(field: DescField): { check: string; write: string } {
    if (field.message !== undefined) return { check: "", write: this.#message(field, field.message) };
    const scalar = this.#scalar(field);
    return {
      check: scalar.check,
      write: tag(field.number, scalar.wireType) + scalar.write,
    };
  }

  #list(field: DescField & { fieldKind: "list" }): string {
    const array = `if (!${this.#use(Array.isArray)}(v)) ${this.#bail} const list = v;`;
    const { message } = field;
    if (message !== undefined) return `${array} ${each(this.#message(field, message))}`;
    const scalar = this.#element(field);
    if (!field.packed) {
      return `${array} ${each(`${scalar.check} ${tag(field.number, scalar.wireType)} ${scalar.write}`)}`;
    }
    const items = each(`${scalar.check} ${scalar.write}`);
    return `${array} if (list.length > 0) { ${tag(field.number, LENGTH)} ${this.#delimited(items)} }`;
  }

  #map(field: DescField & { fieldKind: "map" }): string {
    const key = this.#key(field.mapKey);
    const value = ((): string => {
      if (field.message !== undefined) {
        return `${tag(2, LENGTH)} ${this.#delimited(this.#body(field, field.message))}`;
      }
      const scalar = this.#element(field);
      return `${scalar.check} ${tag(2, scalar.wireType)} ${scalar.write}`;
    })();
    const plain = this.#use(Object.prototype);
    const entry = `{ let v = keys[i]; ${key} v = map[keys[i]]; ${value} }`;
    return `
      if (v === null || typeof v !== "object") ${this.#bail}
      if (${this.#use(Object.getPrototypeOf)}(v) !== ${plain}) ${this.#use(wire.checkPlain)}(v);
      const map = v, keys = ${this.#use(Object.keys)}(map);
      for (let i = 0; i < keys.length; i++) { ${tag(field.number, LENGTH)} ${this.#delimited(entry)} }`;
  }

  #key(type: ScalarType): string {
    if (type === ScalarType.BOOL) {
      return `if (v !== "true" && v !== "false") ${this.#bail} ${tag(1, VARINT)} b[at++] = v === "true" ? 1 : 0;`;
    }
    const { wireType, check, write } = this.#ofType(type);
    const convert = {
      string: "",
      number: `v = ${this.#use(wire.keyNumber)}(v);`,
      bigint: `v = ${this.#use(wire.keyBigInt)}(v);`,
    }[jsTypeOf(type)];
    return `${convert} ${check} ${tag(1, wireType)} ${write}`;
  }

  /** The code that writes a message `v` of a field, with its tag. */
  #message(field: DescField, message: DescMessage): string {
    if (isDelimited(field)) {
      const body = this.#body(field, message);
      return `${tag(field.number, START_GROUP)} ${body} ${tag(field.number, END_GROUP)}`;
    }
    return `${tag(field.number, LENGTH)} ${this.#delimited(this.#body(field, message))}`;
  }

  #body(field: DescField, message: DescMessage): string {
    const codec = this.#use(this.#codecOf(message) satisfies Codec);
    switch (representation(field, message)) {
      case "json": {
        const check = `if (v === null || typeof v !== "object" || ${this.#use(Array.isArray)}(v)) ${this.#bail}`;
        return `${check} at = ${codec}.write(b, at, ${this.#use(structOf)}(v), d + 1);`;
      }
      case "wrapper":
        return `if (v === undefined) ${this.#bail} at = ${codec}.write(b, at, { value: v }, d);`;
      case "message":
        return `at = ${codec}.write(b, at, v, d + 1);`;
    }
  }

  /**
   * Code that writes a value after its length. The length is known only once the value is written, so the code reserves
   * the room that the last length took (perhaps of a value inside this one), and shifts the bytes on a miss.
   */
  #delimited(code: string): string {
    const room = `room${this.#outer.length}`;
    this.#outer.push(`let ${room} = 1;`);
    return `{
      const before = at, start = at + ${room};
      at = start;
      ${code}
      const length = at - start;
      if (length < 128 && start === before + 1) b[before] = length;
      else { at = ${this.#use(wire.close)}(b, before, start, at); ${room} = at - before - length; }
    }`;
  }

  /** A list or map may hold any number for a closed enum, since a decoded one may. */
  #element(field: DescField): Scalar {
    return field.enum === undefined ? this.#scalar(field) : this.#ofType(ScalarType.INT32);
  }

  #scalar(field: DescField): Scalar {
    if (field.enum !== undefined) return this.#enumeration(field.enum);
    const type = field.scalar ?? ScalarType.STRING;
    const scalar = this.#ofType(type);
    if (!longAsString(field)) return scalar;
    return { ...scalar, check: `v = ${this.#use(wire.longOf)}(v);` };
  }

  #enumeration(desc: DescEnum): Scalar {
    const int32 = this.#ofType(ScalarType.INT32);
    if (desc.open) return int32;
    const numbers = new Set(desc.values.map(({ number }) => number));
    return { ...int32, check: `${int32.check} if (!${this.#use(numbers)}.has(v)) ${this.#bail}` };
  }

  #ofType(type: ScalarType): Scalar {
    const call = (write: (bytes: Uint8Array, at: number, value: never) => number) =>
      `at = ${this.#use(write)}(b, at, v);`;
    const refuse = (condition: string) => `if (${condition}) ${this.#bail}`;
    const signed = refuse('typeof v !== "number" || (v | 0) !== v');
    const unsigned = refuse('typeof v !== "number" || v >>> 0 !== v');
    const number = refuse('typeof v !== "number"');
    const bigint = refuse('typeof v !== "bigint"');
    switch (type) {
      case ScalarType.STRING:
        return { wireType: LENGTH, check: refuse('typeof v !== "string"'), write: call(wire.text) };
      case ScalarType.BYTES:
        return {
          wireType: LENGTH,
          check: refuse(`!${this.#use(isBytes)}(v)`),
          write: call(wire.blob),
        };
      case ScalarType.BOOL:
        return { wireType: VARINT, check: refuse('typeof v !== "boolean"'), write: "b[at++] = v ? 1 : 0;" };
      case ScalarType.DOUBLE:
        return { wireType: BIT64, check: number, write: call(wire.double) };
      case ScalarType.FLOAT:
        return { wireType: BIT32, check: number, write: call(wire.float) };
      case ScalarType.INT32:
        return { wireType: VARINT, check: signed, write: small(call(wire.int32)) };
      case ScalarType.UINT32:
        return { wireType: VARINT, check: unsigned, write: small(call(wire.uint32)) };
      case ScalarType.SINT32:
        return {
          wireType: VARINT,
          check: signed,
          write: `at = ${this.#use(wire.uint32)}(b, at, ((v << 1) ^ (v >> 31)) >>> 0);`,
        };
      case ScalarType.FIXED32:
        return { wireType: BIT32, check: unsigned, write: call(wire.fixed32) };
      case ScalarType.SFIXED32:
        return { wireType: BIT32, check: signed, write: call(wire.fixed32) };
      case ScalarType.INT64:
        return { wireType: VARINT, check: bigint, write: call(wire.int64) };
      case ScalarType.UINT64:
        return { wireType: VARINT, check: bigint, write: call(wire.uint64) };
      case ScalarType.SINT64:
        return { wireType: VARINT, check: bigint, write: call(wire.sint64) };
      case ScalarType.FIXED64:
        return { wireType: BIT64, check: bigint, write: call(wire.fixed64) };
      case ScalarType.SFIXED64:
        return { wireType: BIT64, check: bigint, write: call(wire.sfixed64) };
    }
  }
}

const LONG_FIELDS: ReadonlyMap<ScalarType, (...args: never[]) => number> = new Map([
  [ScalarType.INT64, wire.int64Field],
  [ScalarType.UINT64, wire.uint64Field],
]);
