import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { BAIL } from "./compiled-signals.js";
import type { CodecOf } from "./compiled.js";
import { make } from "./make.js";
import { ScalarType } from "./scalar-type.js";
import { jsonOf, representation } from "./json.js";
import * as wire from "./read.js";
import { quote, Scope } from "./compiled-scope.js";
import { isBytes } from "../value-kinds.js";
import { elementWeight, ENTRY_WEIGHT, TOO_HEAVY, weight, weigh, weightOf } from "./weight.js";
import {
  BIT32,
  BIT64,
  DEPTH_LIMIT,
  END_GROUP,
  isDelimited,
  LENGTH,
  longAsString,
  START_GROUP,
  VARINT,
} from "./wire-types.js";

/**
 * Reads a message from the bytes from `at` to `end` into `message` and returns it. Throws BAIL, or any other value, for
 * what it does not read. `group` is the tag that ends a group, 0 for a message that ends at `end`.
 */
export type Read = (
  bytes: Uint8Array,
  at: number,
  end: number,
  message: object,
  depth: number,
  group: number,
) => object;

/** Makes an empty message, as protobuf-es's create() does. */
export type Make = new () => object;

/** Compiles the decoder of a message. */
export function compileRead(desc: DescMessage, codecOf: CodecOf): { read: Read; Make: Make } {
  return new ReadCompiler(desc, codecOf).compile();
}

/** How a scalar is read: its wire type, and code that reads it into `v` and moves `at` past it. */
interface Scalar {
  readonly wireType: number;
  readonly read: string;
}

class ReadCompiler {
  readonly #scope = new Scope();
  readonly #desc: DescMessage;
  readonly #codecOf: CodecOf;
  readonly #bail: string;
  readonly #cursor: string;

  constructor(desc: DescMessage, codecOf: CodecOf) {
    this.#desc = desc;
    this.#codecOf = codecOf;
    this.#bail = `throw ${this.#use(BAIL)};`;
    this.#cursor = this.#use(wire.cursor);
  }

  #use(value: unknown): string {
    return this.#scope.name(value);
  }

  compile(): { read: Read; Make: Make } {
    const { fields } = this.#desc;
    const known = this.#use(new Set(fields.map(({ number }) => number)));
    const weighed = this.#use(weight);
    const code = `
      function read(b, at, end, m, d, g) {
        if (d > ${DEPTH_LIMIT}) ${this.#bail}
        if ((${weighed}.bytes += ${weightOf(this.#desc)}) > ${weighed}.limit) throw ${this.#use(TOO_HEAVY)};
        let v, e;
        while (at < end) {
          let tag = b[at++];
          if (tag > 127) { tag = ${this.#use(wire.size32)}(b, at - 1); at = ${this.#cursor}.at; }
          switch (tag) {
            ${fields.map((field) => this.#field(field)).join("\n")}
            default:
              if (tag === g && g !== 0) { ${this.#cursor}.at = at; return m; }
              at = ${this.#use(wire.unknownField)}(m, b, at, end, tag, ${known});
          }
        }
        if (at !== end || g !== 0) ${this.#bail}
        return m;
      }
      ${this.#make()}
      return { read, Make };`;
    return this.#scope.run(code);
  }

  /** Code of a constructor, so that V8 knows the shape and leaves room for the fields that are set later. */
  #make(): string {
    const message = make(this.#desc);
    const lines = Object.entries(message).map(([name, value]: [string, unknown]) => {
      const member = this.#desc.members.find(({ localName }) => localName === name);
      return `this[${quote(name)}] = ${this.#initial(member?.kind ?? "", value)};`;
    });
    const prototype = this.#use(Object.getPrototypeOf(message));
    return `function Make() { ${lines.join(" ")} } Make.prototype = ${prototype};`;
  }

  #initial(kind: string, value: unknown): string {
    if (kind === "oneof") return "{ case: undefined }";
    if (Array.isArray(value)) return "[]";
    // All messages share one empty Uint8Array, as in protobuf-es.
    if (isBytes(value)) return this.#use(value);
    if (typeof value === "object") return "{}";
    return typeof value === "bigint" ? `${value}n` : JSON.stringify(value);
  }

  #field(field: DescField): string {
    switch (field.fieldKind) {
      case "list":
        return this.#list(field);
      case "map":
        return this.#map(field);
      case "message":
        return this.#message(field);
      default:
        return this.#scalarField(field);
    }
  }

  #case(field: DescField, wireType: number, code: string): string {
    return `case ${((field.number << 3) | wireType) >>> 0}: { ${code} break; }`;
  }

  /** Code that puts `v` into a singular field. */
  #set({ localName, oneof }: DescField): string {
    if (oneof === undefined) return `m[${quote(localName)}] = v;`;
    return `m[${quote(oneof.localName)}] = { case: ${quote(localName)}, value: v };`;
  }

  #scalarField(field: DescField & { fieldKind: "scalar" | "enum" }): string {
    const { wireType, read } = this.#scalar(field);
    const set = this.#set(field);
    if (field.enum === undefined || field.enum.open) return this.#case(field, wireType, `${read} ${set}`);
    const numbers = this.#use(new Set(field.enum.values.map(({ number }) => number)));
    const unknown = `${this.#use(wire.unknownEnum)}(m, ${field.number}, v);`;
    return this.#case(field, wireType, `${read} if (${numbers}.has(v)) { ${set} } else ${unknown}`);
  }

  #message(field: DescField & { fieldKind: "message" }): string {
    const name = quote(field.localName);
    const codec = this.#use(this.#codecOf(field.message));
    const fresh = `new ${codec}.Make()`;
    const kind = representation(field, field.message);
    const present = this.#own(field.localName);
    let before = `v = ${present}; if (v === undefined) v = ${fresh};`;
    let after = "";
    if (field.oneof !== undefined) {
      before = `v = m[${quote(field.oneof.localName)}]; v = v.case === ${name} ? v.value : ${fresh};`;
      if (kind === "json")
        before = `let j = m[${quote(field.oneof.localName)}]; j = j.case === ${name} ? j.value : undefined; v = ${fresh};`;
    } else if (kind === "json") before = `const j = ${present}; v = ${fresh};`;
    // A second wrapper is merged into the first.
    else if (kind === "wrapper") before = `v = ${present}; if (v !== undefined) ${this.#bail} v = ${fresh};`;
    if (kind === "json") after = `v = ${this.#use(jsonOf)}(v, j);`;
    if (kind === "wrapper") after = "v = v.value;";
    const read = this.#child(field, codec);
    return this.#case(
      field,
      read.wireType,
      `${read.before} ${before} ${read.code} ${after} ${this.#set(field)}`,
    );
  }

  /** Code of a field's own value. A property that every object inherits, such as "hasOwnProperty", is not one. */
  #own(localName: string): string {
    const value = `m[${quote(localName)}]`;
    if (!(localName in Object.prototype)) return value;
    return `${this.#use(Object.hasOwn)}(m, ${quote(localName)}) ? ${value} : undefined`;
  }

  /** Code that reads a field's message into `v`, which already holds one. */
  #child(field: DescField, codec: string): { wireType: number; before: string; code: string } {
    if (isDelimited(field)) {
      const group = ((field.number << 3) | END_GROUP) >>> 0;
      const code = `v = ${codec}.read(b, at, end, v, d + 1, ${group}); at = ${this.#cursor}.at;`;
      return { wireType: START_GROUP, before: "", code };
    }
    return {
      wireType: LENGTH,
      before: this.#length("end"),
      code: `v = ${codec}.read(b, at, e, v, d + 1, 0); at = e;`,
    };
  }

  /** Code that reads a length, and sets `e` to the end of what it measures. */
  #length(end: string): string {
    return `${this.#varint32(wire.size32)} e = at + v; if (e > ${end}) ${this.#bail}`;
  }

  #varint32(longer = wire.uint32): string {
    return `v = b[at++]; if (v > 127) { v = ${this.#use(longer)}(b, at - 1); at = ${this.#cursor}.at; }`;
  }

  #list(field: DescField & { fieldKind: "list" }): string {
    const name = quote(field.localName);
    const { message } = field;
    if (message !== undefined) {
      const codec = this.#use(this.#codecOf(message));
      const read = this.#child(field, codec);
      const value = representation(field, message) === "json" ? `${this.#use(jsonOf)}(v)` : "v";
      const code = `${read.before} v = new ${codec}.Make(); ${read.code} m[${name}].push(${value});`;
      return this.#case(field, read.wireType, code);
    }
    const scalar = this.#scalar(field);
    const weigher = `${this.#use(weigh)}`;
    const each = elementWeight(field.scalar);
    const one = this.#case(field, scalar.wireType, `${scalar.read} ${weigher}(${each}); m[${name}].push(v);`);
    if (scalar.wireType === LENGTH) return one;
    // A run of numbers is weighed as a whole: it has no more of them than bytes.
    const many = `${this.#length("end")} const list = m[${name}], stop = e, before = list.length;
      while (at < stop) { ${scalar.read} list.push(v); }
      if (at !== stop) ${this.#bail}
      ${weigher}(${each} * (list.length - before));`;
    return one + this.#case(field, LENGTH, many);
  }

  #map(field: DescField & { fieldKind: "map" }): string {
    const key = this.#ofType(field.mapKey, field.utf8Validation, false);
    let value: Scalar;
    let initial: string;
    let result = "value";
    // Without a value on the wire, the message of one is not weighed by its own reader.
    let unread = "";
    if (field.message === undefined) {
      value = field.enum
        ? this.#ofType(ScalarType.INT32, false, false)
        : this.#ofType(field.scalar, field.utf8Validation, false);
      initial = field.enum
        ? String(field.enum.values[0]?.number ?? 0)
        : zeroOf(field.scalar, this.#use(Uint8Array));
    } else {
      const codec = this.#use(this.#codecOf(field.message));
      initial = `new ${codec}.Make()`;
      unread = `${this.#use(weigh)}(${weightOf(field.message)});`;
      const read = `${codec}.read(b, at, e, value === undefined ? ${initial} : value, d + 1, 0)`;
      value = { wireType: LENGTH, read: `${this.#length("stop")} v = ${read}; at = e;` };
      if (representation(field, field.message) === "json") result = `${this.#use(jsonOf)}(value)`;
    }
    // Strings and bytes are checked against the end of the message; the entry is checked at its own end.
    const code = `${this.#length("end")} const stop = e;
      let key, value;
      while (at < stop) {
        switch (b[at++]) {
          case ${8 | key.wireType}: ${key.read} key = v; break;
          case ${16 | value.wireType}: ${value.read} value = v; break;
          default: ${this.#bail}
        }
      }
      if (at !== stop) ${this.#bail}
      if (key === undefined) key = ${zeroOf(field.mapKey, "")};
      if (value === undefined) { value = ${initial}; ${unread} }
      ${this.#use(weigh)}(${ENTRY_WEIGHT});
      ${this.#use(wire.setEntry)}(m[${quote(field.localName)}], ${field.mapKey === ScalarType.STRING ? "key" : "String(key)"}, ${result});`;
    return this.#case(field, LENGTH, code);
  }

  #scalar(field: DescField): Scalar {
    if (field.enum !== undefined) return this.#ofType(ScalarType.INT32, false, false);
    return this.#ofType(field.scalar ?? ScalarType.STRING, field.utf8Validation, longAsString(field));
  }

  #ofType(type: ScalarType, strict: boolean, asString: boolean): Scalar {
    const long = (read: unknown, wireType: number): Scalar => {
      const value = asString ? `String(${this.#use(read)}(b, at))` : `${this.#use(read)}(b, at)`;
      const at = wireType === VARINT ? `at = ${this.#cursor}.at;` : "at += 8;";
      return { wireType, read: `v = ${value}; ${at}` };
    };
    const fixed = (read: unknown, size: 4 | 8): Scalar => ({
      wireType: size === 4 ? BIT32 : BIT64,
      read: `v = ${this.#use(read)}(b, at); at += ${size};`,
    });
    switch (type) {
      case ScalarType.STRING:
        return {
          wireType: LENGTH,
          read: `${this.#length("end")} v = ${this.#use(wire.compiledText())}(b, at, e, ${strict}); at = e;`,
        };
      case ScalarType.BYTES:
        return {
          wireType: LENGTH,
          read: `${this.#length("end")} v = ${this.#use(wire.blob)}(b, at, e); at = e;`,
        };
      case ScalarType.BOOL:
        return {
          wireType: VARINT,
          read: `v = b[at++]; if (v < 128) v = v !== 0; else { v = ${this.#use(wire.longBool)}(b, at - 1); at = ${this.#cursor}.at; }`,
        };
      case ScalarType.INT32:
        return { wireType: VARINT, read: `${this.#varint32()} v |= 0;` };
      case ScalarType.UINT32:
        return { wireType: VARINT, read: this.#varint32() };
      case ScalarType.SINT32:
        return { wireType: VARINT, read: `${this.#varint32()} v = (v >>> 1) ^ -(v & 1);` };
      case ScalarType.DOUBLE:
        return fixed(wire.double, 8);
      case ScalarType.FLOAT:
        return fixed(wire.float, 4);
      case ScalarType.FIXED32:
        return fixed(wire.fixed32, 4);
      case ScalarType.SFIXED32:
        return fixed(wire.sfixed32, 4);
      case ScalarType.FIXED64:
        return long(wire.fixed64, BIT64);
      case ScalarType.SFIXED64:
        return long(wire.sfixed64, BIT64);
      case ScalarType.INT64:
        return long(wire.int64, VARINT);
      case ScalarType.UINT64:
        return long(wire.uint64, VARINT);
      case ScalarType.SINT64:
        return long(wire.sint64, VARINT);
    }
  }
}

/** Code of the default of a map's key or value that an entry leaves out. */
function zeroOf(type: ScalarType, bytes: string): string {
  switch (type) {
    case ScalarType.STRING:
      return '""';
    case ScalarType.BOOL:
      return "false";
    case ScalarType.BYTES:
      return `new ${bytes}(0)`;
    case ScalarType.INT64:
    case ScalarType.UINT64:
    case ScalarType.SINT64:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return "0n";
    default:
      return "0";
  }
}
