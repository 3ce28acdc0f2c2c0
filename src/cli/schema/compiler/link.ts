import { clone, create, type DescFile, type Message, type Registry } from "@bufbuild/protobuf";
import { mergeFromText } from "@bufbuild/protobuf/txtpb";
import {
  type DescriptorProto,
  type EnumDescriptorProto,
  FeatureSetSchema,
  type FieldDescriptorProto,
  FieldOptionsSchema,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Kind,
  type FileDescriptorProto,
} from "@bufbuild/protobuf/wkt";
import { check } from "./check.js";
import { bytesOf } from "./tokens.js";
import { integerOf } from "./cursor.js";
import type { DefaultUse, OptionUse, Parsed, Reference } from "./parsed.js";
import { type Symbol, Symbols } from "./symbols.js";

/** Whether an option is the user's own: an extension. */
const own = (use: OptionUse) => use.parts.some(({ extension }) => extension);

const END_OF_MESSAGE_SET = 2 ** 31 - 1;

/** Resolves the names in files that are complete with their imports, and sets their options. */
export class Linker {
  readonly #files: readonly Parsed[];
  readonly #symbols = new Symbols();
  readonly #wellKnown: readonly DescFile[];

  /** @param wellKnown - Files that are already compiled. */
  constructor(files: readonly Parsed[], wellKnown: readonly DescFile[]) {
    this.#files = files;
    this.#wellKnown = wellKnown;
  }

  /**
   * Completes the descriptors of all files. Throws a UsageError for a name that is declared nowhere, or twice.
   *
   * @param build - Makes a registry of the descriptors so far, for the user's own options.
   */
  link(build: (files: readonly FileDescriptorProto[]) => Registry): FileDescriptorProto[] {
    for (const { proto } of this.#wellKnown) this.#symbols.add(proto, () => undefined);
    for (const { proto, source, places } of this.#files) {
      this.#symbols.add(proto, (name, declaration, earlier) => {
        const where = earlier.file === proto ? "" : `, first in ${earlier.file.name}`;
        throw source.error(places.get(declaration) ?? 0, `${name} is declared twice${where}`);
      });
    }
    const protos = this.#files.map(({ proto }) => proto);
    for (const file of this.#files) {
      for (const use of file.options) if (!own(use)) this.#option(use, file);
      for (const [field, entry] of file.maps) spread(field, entry);
      for (const [message, range] of file.openRanges) {
        if (message.options?.messageSetWireFormat) range.end = END_OF_MESSAGE_SET;
      }
    }
    for (const file of this.#files) {
      for (const reference of file.references) this.#resolve(reference, file);
      for (const use of file.defaults) this.#default(use, file);
      check(file);
    }
    if (!this.#files.some(({ options }) => options.some(own))) return protos;
    const registry = build(protos);
    for (const file of this.#files) {
      for (const use of file.options) if (own(use)) this.#option(use, file, registry);
    }
    return protos;
  }

  #resolve(reference: Reference, { proto, source, places }: Parsed): void {
    const { name, at, scope, enums, extension, found } = reference;
    const fits = ({ kind }: Symbol) => kind === "message" || (enums && kind === "enum");
    const result = this.#symbols.find(
      name,
      scope,
      proto,
      ({ kind }) => kind === "message" || kind === "enum",
    );
    if (result === undefined || !fits(result.symbol)) {
      throw source.error(at, `no such ${enums ? "Type or Enum" : "Type"} '${name}'`);
    }
    if (extension !== undefined) {
      const { extensionRange } = result.symbol.declaration as DescriptorProto;
      if (!extensionRange.some(({ start, end }) => extension.number >= start && extension.number < end)) {
        const what = `${result.name} does not allow an extension with the number ${extension.number}`;
        throw source.error(places.get(extension) ?? at, what);
      }
    }
    found(`.${result.name}`, result.symbol.kind === "enum");
  }

  #default({ field, at, negative, tokens }: DefaultUse, { proto, source }: Parsed): void {
    const wrong = () => source.error(at, `the default of ${field.name} does not fit its type`);
    const [token] = tokens;
    if (token === undefined || field.label === Label.REPEATED || proto.syntax === "proto3") throw wrong();
    const sign = negative ? "-" : "";
    const word = token.kind === "identifier" && !negative ? token.text : undefined;
    switch (field.type) {
      case Kind.MESSAGE:
      case Kind.GROUP:
        throw wrong();
      case Kind.STRING:
      case Kind.BYTES: {
        if (token.kind !== "string") throw wrong();
        const bytes = Buffer.concat(tokens.map((each) => bytesOf(each, source)));
        field.defaultValue = field.type === Kind.STRING ? bytes.toString() : escaped(bytes);
        return;
      }
      case Kind.BOOL:
        if (word !== "true" && word !== "false") throw wrong();
        field.defaultValue = word;
        return;
      case Kind.ENUM: {
        if (word === undefined || !this.#enum(field.typeName)?.value.some(({ name }) => name === word))
          throw wrong();
        field.defaultValue = word;
        return;
      }
      case Kind.DOUBLE:
      case Kind.FLOAT: {
        if (token.kind === "string" || (token.kind === "identifier" && !/^(inf|nan)$/.test(token.text)))
          throw wrong();
        const text = token.kind === "integer" ? String(integerOf(token.text)) : token.text;
        field.defaultValue = token.text === "nan" ? "nan" : sign + text;
        return;
      }
      default: {
        if (token.kind !== "integer") throw wrong();
        const value = integerOf(token.text) * (negative ? -1n : 1n);
        const [least, most] = limitsOf(field.type);
        if (value < least || value > most) throw wrong();
        field.defaultValue = String(value);
      }
    }
  }

  #enum(typeName: string): EnumDescriptorProto | undefined {
    const file = this.#files[0]?.proto;
    if (file === undefined) return undefined;
    const everything = new Set([...this.#files, ...this.#wellKnown].map(({ proto }) => proto));
    const result = this.#symbols.find(typeName, "", file, () => true, everything);
    return result?.symbol.declaration as EnumDescriptorProto | undefined;
  }

  /** Sets an option through the text format, which can express every option. */
  #option(
    { parts, value, scope, schema, target }: OptionUse,
    { proto, source }: Parsed,
    registry?: Registry,
  ): void {
    const [first] = parts;
    const optional = new Set<FileDescriptorProto>();
    for (const { proto: imported } of [...this.#files, ...this.#wellKnown]) {
      if (!proto.optionDependency.includes(imported.name)) continue;
      for (const file of this.#symbols.visibleTo(imported)) optional.add(file);
    }
    const names = parts.map(({ name, at, extension }) => {
      if (!extension) return name;
      const result = this.#symbols.find(name, scope, proto, ({ kind }) => kind === "extension", optional);
      if (result?.symbol.kind !== "extension") throw source.error(at, `there is no option (${name})`);
      return `[${result.name}]`;
    });
    const text = `${names.join("{")}${value}${"}".repeat(names.length - 1)}`;
    try {
      mergeFromText(schema, target() as Message, text, { registry });
    } catch (error) {
      const name = parts.map((part) => (part.extension ? `(${part.name})` : part.name)).join(".");
      throw source.error(first?.at ?? 0, `the option ${name} cannot be set: ${(error as Error).message}`);
    }
  }
}

const SHORT: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** Bytes in the escaped form that descriptors have for defaults. */
function escaped(bytes: Uint8Array): string {
  return [...bytes]
    .map((byte) => {
      const character = String.fromCodePoint(byte);
      const short = SHORT[character];
      if (short !== undefined) return short;
      if (byte < 0x20 || byte > 0x7e) return `\\${byte.toString(8).padStart(3, "0")}`;
      return /["'\\]/.test(character) ? `\\${character}` : character;
    })
    .join("");
}

/** The features of a map hold for its keys and values. */
function spread({ options }: FieldDescriptorProto, entry: DescriptorProto): void {
  if (options?.features === undefined) return;
  for (const field of entry.field) {
    field.options = create(FieldOptionsSchema, { features: clone(FeatureSetSchema, options.features) });
  }
}

function limitsOf(type: Kind): [bigint, bigint] {
  switch (type) {
    case Kind.UINT32:
    case Kind.FIXED32:
      return [0n, 2n ** 32n - 1n];
    case Kind.UINT64:
    case Kind.FIXED64:
      return [0n, 2n ** 64n - 1n];
    case Kind.INT64:
    case Kind.SINT64:
    case Kind.SFIXED64:
      return [-(2n ** 63n), 2n ** 63n - 1n];
    default:
      return [-(2n ** 31n), 2n ** 31n - 1n];
  }
}
