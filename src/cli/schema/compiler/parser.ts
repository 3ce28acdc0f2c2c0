import { create } from "@bufbuild/protobuf";
import {
  type DescriptorProto,
  type DescriptorProto_ExtensionRange,
  DescriptorProto_ExtensionRangeSchema,
  DescriptorProto_ReservedRangeSchema,
  DescriptorProtoSchema,
  Edition,
  type EnumDescriptorProto,
  EnumDescriptorProto_EnumReservedRangeSchema,
  EnumDescriptorProtoSchema,
  EnumOptionsSchema,
  EnumValueDescriptorProtoSchema,
  EnumValueOptionsSchema,
  type ExtensionRangeOptions,
  ExtensionRangeOptionsSchema,
  type FieldDescriptorProto,
  FileOptionsSchema,
  MessageOptionsSchema,
  type MethodDescriptorProto,
  MethodDescriptorProtoSchema,
  MethodOptionsSchema,
  OneofDescriptorProtoSchema,
  OneofOptionsSchema,
  ServiceDescriptorProtoSchema,
  ServiceOptionsSchema,
  SymbolVisibility,
} from "@bufbuild/protobuf/wkt";
import { FieldParser, type Holder } from "./field-parser.js";
import { qualified, syntheticOneof } from "./names.js";
import type { Import, Parsed } from "./parsed.js";
import type { Source } from "./tokens.js";

const INT32 = { least: -(2 ** 31), most: 2 ** 31 - 1 } as const;
/** The meaning of `max`: the largest number of a field, and of one in a message set. */
const MAX = { field: 2 ** 29 - 1, messageSet: 2 ** 31 - 2 } as const;

/** How deep messages and groups may be nested, which is protoc's and buf's limit. */
const MOST_NESTED = 31;

/** Reads a .proto file. Throws a UsageError, with file, line and column, for whatever it does not understand. */
export function parseProto(source: Source): Parsed {
  return new Parser(source).file();
}

class Parser extends FieldParser {
  readonly #imports: Import[] = [];
  /** Ranges that are longer if their message turns out to be a message set. */
  readonly #openRanges: [DescriptorProto, DescriptorProto_ExtensionRange][] = [];
  /** How many messages and groups the current one is nested in, itself included. */
  #depth = 0;

  file(): Parsed {
    const { cursor, source, proto, references, maps, places } = this;
    this.#syntax();
    while (cursor.peek().kind !== "end") this.#topLevel();
    const { uses: options, defaults } = this.options;
    return {
      source,
      proto,
      imports: this.#imports,
      references,
      options,
      defaults,
      maps,
      openRanges: this.#openRanges,
      places,
    };
  }

  #syntax(): void {
    const { cursor, proto } = this;
    const editions = cursor.at("edition");
    if (!editions && !cursor.at("syntax")) return;
    cursor.next();
    cursor.expect("=");
    const { at } = cursor.peek();
    const value = cursor.string(editions ? "an edition" : "a syntax");
    if (editions) {
      const edition = Edition[`EDITION_${value}` as keyof typeof Edition];
      if (!/^\d{4}$/.test(value) || edition === undefined) {
        throw this.source.error(at, `unknown edition ${JSON.stringify(value)}`);
      }
      proto.edition = edition;
      proto.syntax = "editions";
    } else if (value === "proto3") proto.syntax = value;
    else if (value !== "proto2") {
      throw this.source.error(at, `unknown syntax ${JSON.stringify(value)}`);
    }
    cursor.expect(";");
  }

  #topLevel(): void {
    const { cursor, proto, options } = this;
    const scope = proto.package;
    if (cursor.accept(";")) return;
    if (this.#type(scope, proto.messageType, proto.enumType)) return;
    if (options.statement(scope, FileOptionsSchema, () => (proto.options ??= create(FileOptionsSchema))))
      return;
    const { text, at } = cursor.peek();
    switch (text) {
      case "import":
        return this.#import();
      case "package":
        cursor.next();
        if (scope !== "") throw this.source.error(at, "the file has two packages");
        proto.package = cursor.fullName("the name of a package");
        cursor.expect(";");
        return;
      case "service":
        return this.#service(scope);
      case "extend":
        return this.#extend(scope, proto.extension, proto.messageType);
      default:
        throw cursor.unexpected("a message, enum, service, extend, import, package or option");
    }
  }

  /** Reads a message or an enum, if it is next. */
  #type(scope: string, messages: DescriptorProto[], enums: EnumDescriptorProto[]): boolean {
    const { cursor } = this;
    const modified =
      this.proto.edition >= Edition.EDITION_2024 &&
      (cursor.at("export") || cursor.at("local")) &&
      (cursor.at("message", 1) || cursor.at("enum", 1));
    const modifier = modified ? cursor.next().text : undefined;
    let type: DescriptorProto | EnumDescriptorProto;
    if (cursor.accept("message")) messages.push((type = this.#message(scope)));
    else if (cursor.accept("enum")) enums.push((type = this.#enum(scope)));
    else return false;
    if (modifier === "local") type.visibility = SymbolVisibility.VISIBILITY_LOCAL;
    if (modifier === "export") type.visibility = SymbolVisibility.VISIBILITY_EXPORT;
    return true;
  }

  #import(): void {
    const { cursor, proto } = this;
    cursor.next();
    const index = this.#imports.filter((each) => !each.option).length;
    const option = proto.edition >= Edition.EDITION_2024 && cursor.accept("option");
    if (cursor.accept("public")) proto.publicDependency.push(index);
    else if (cursor.accept("weak")) proto.weakDependency.push(index);
    const { at } = cursor.peek();
    this.#imports.push({ name: cursor.string("the name of a file"), at, option });
    cursor.expect(";");
  }

  #message(scope: string): DescriptorProto {
    const message = this.named(create(DescriptorProtoSchema), "the name of a message");
    this.body(message, qualified(scope, message.name));
    return message;
  }

  protected override body(message: DescriptorProto, scope: string): void {
    const { cursor, options } = this;
    const holder: Holder = { scope, fields: message.field, nested: message.nestedType };
    const own = () => (message.options ??= create(MessageOptionsSchema));
    const { at } = cursor.expect("{");
    if (++this.#depth > MOST_NESTED) {
      throw this.source.error(at, `messages are nested more than ${MOST_NESTED} levels deep`);
    }
    while (!cursor.accept("}")) {
      if (cursor.accept(";")) continue;
      if (this.#type(scope, message.nestedType, message.enumType)) continue;
      if (options.statement(scope, MessageOptionsSchema, own)) continue;
      if (cursor.at("extend")) this.#extend(scope, message.extension, message.nestedType);
      else if (cursor.at("extensions")) this.#extensionRanges(message, scope);
      else if (cursor.at("reserved")) this.#reservedFields(message);
      else if (cursor.at("oneof")) this.#oneof(message, holder);
      else this.field(holder);
    }
    this.#depth--;
    for (const field of message.field) {
      if (!field.proto3Optional) continue;
      field.oneofIndex = message.oneofDecl.length;
      const name = syntheticOneof(field, message);
      message.oneofDecl.push(create(OneofDescriptorProtoSchema, { name }));
    }
  }

  #oneof(message: DescriptorProto, holder: Holder): void {
    const { cursor, options } = this;
    cursor.next();
    const oneof = this.named(create(OneofDescriptorProtoSchema), "the name of a oneof");
    const inner = { ...holder, oneofIndex: message.oneofDecl.length };
    message.oneofDecl.push(oneof);
    const own = () => (oneof.options ??= create(OneofOptionsSchema));
    const { at } = cursor.expect("{");
    const before = message.field.length;
    while (!cursor.accept("}")) {
      if (!options.statement(holder.scope, OneofOptionsSchema, own)) this.field(inner);
    }
    if (message.field.length === before) throw this.source.error(at, `the oneof ${oneof.name} is empty`);
  }

  #extend(scope: string, fields: FieldDescriptorProto[], nested: DescriptorProto[]): void {
    const { cursor } = this;
    cursor.next();
    const extendee = cursor.reference("the name of a message");
    const { at } = cursor.expect("{");
    const before = fields.length;
    while (!cursor.accept("}")) this.field({ scope, fields, nested, extendee });
    if (fields.length === before) throw this.source.error(at, `the extension of ${extendee.name} is empty`);
  }

  #extensionRanges(message: DescriptorProto, scope: string): void {
    const { cursor } = this;
    cursor.next();
    const before = message.extensionRange.length;
    this.#ranges(1, MAX.messageSet, MAX.field, (start, end, open) => {
      const range = create(DescriptorProto_ExtensionRangeSchema, { start, end: end + 1 });
      message.extensionRange.push(range);
      if (open) this.#openRanges.push([message, range]);
    });
    const ranges = message.extensionRange.slice(before);
    // Options apply to every range before them.
    let options: ExtensionRangeOptions | undefined;
    this.options.list(scope, ExtensionRangeOptionsSchema, () => {
      options ??= create(ExtensionRangeOptionsSchema);
      for (const range of ranges) range.options = options;
      return options;
    });
    cursor.expect(";");
  }

  #reservedFields({ reservedRange, reservedName }: DescriptorProto): void {
    this.#reserved(reservedName, 1, MAX.field, MAX.field, (start, end) => {
      reservedRange.push(create(DescriptorProto_ReservedRangeSchema, { start, end: end + 1 }));
    });
  }

  #reserved(names: string[], least: number, most: number, max: number, add: AddRange): void {
    const { cursor } = this;
    cursor.next();
    const { kind } = cursor.peek();
    if (kind === "string" || kind === "identifier") {
      // Editions have names here, older syntaxes have strings.
      const editions = this.proto.syntax === "editions";
      if ((kind === "identifier") !== editions) {
        throw cursor.unexpected(`numbers, or ${editions ? "names without quotes" : "names in quotes"}`);
      }
      do {
        names.push(editions ? cursor.identifier("a name").text : cursor.string("a name"));
      } while (cursor.accept(","));
    } else this.#ranges(least, most, max, add);
    cursor.expect(";");
  }

  /** Reads numbers and ranges, which include both ends. */
  #ranges(least: number, most: number, max: number, add: AddRange): void {
    const { cursor } = this;
    do {
      const { at } = cursor.peek();
      const start = cursor.integer("a number", least, most);
      const range = cursor.accept("to");
      const open = range && cursor.accept("max");
      const end = open ? max : range ? cursor.integer("a number", least, most) : start;
      if (end < start) throw this.source.error(at, "the range ends before it begins");
      add(start, end, open);
    } while (cursor.accept(","));
  }

  #enum(scope: string): EnumDescriptorProto {
    const { cursor, options } = this;
    const type = this.named(create(EnumDescriptorProtoSchema), "the name of an enum");
    const inner = qualified(scope, type.name);
    const own = () => (type.options ??= create(EnumOptionsSchema));
    const { at } = cursor.expect("{");
    while (!cursor.accept("}")) {
      if (cursor.accept(";") || options.statement(inner, EnumOptionsSchema, own)) continue;
      if (cursor.at("reserved") && !cursor.at("=", 1)) {
        this.#reserved(type.reservedName, INT32.least, INT32.most, INT32.most, (start, end) => {
          type.reservedRange.push(create(EnumDescriptorProto_EnumReservedRangeSchema, { start, end }));
        });
      } else this.#enumValue(type, inner);
    }
    if (type.value.length === 0) throw this.source.error(at, `the enum ${type.name} is empty`);
    return type;
  }

  #enumValue(type: EnumDescriptorProto, scope: string): void {
    const { cursor } = this;
    const value = this.named(create(EnumValueDescriptorProtoSchema), "the name of a value");
    cursor.expect("=");
    value.number = cursor.integer("the number of a value", INT32.least, INT32.most);
    const own = () => (value.options ??= create(EnumValueOptionsSchema));
    this.options.list(scope, EnumValueOptionsSchema, own);
    cursor.expect(";");
    type.value.push(value);
  }

  #service(scope: string): void {
    const { cursor, options, proto } = this;
    cursor.next();
    const service = this.named(create(ServiceDescriptorProtoSchema), "the name of a service");
    const inner = qualified(scope, service.name);
    const own = () => (service.options ??= create(ServiceOptionsSchema));
    cursor.expect("{");
    while (!cursor.accept("}")) {
      if (cursor.accept(";") || options.statement(inner, ServiceOptionsSchema, own)) continue;
      cursor.expect("rpc");
      service.method.push(this.#method(inner));
    }
    proto.service.push(service);
  }

  #method(scope: string): MethodDescriptorProto {
    const { cursor, options } = this;
    const method = this.named(create(MethodDescriptorProtoSchema), "the name of a method");
    if (this.#streamed(scope, (name) => (method.inputType = name))) method.clientStreaming = true;
    cursor.expect("returns");
    if (this.#streamed(scope, (name) => (method.outputType = name))) method.serverStreaming = true;
    if (cursor.accept(";")) return method;
    const own = () => (method.options ??= create(MethodOptionsSchema));
    cursor.expect("{");
    method.options = create(MethodOptionsSchema);
    while (!cursor.accept("}")) {
      if (cursor.accept(";") || options.statement(scope, MethodOptionsSchema, own)) continue;
      throw cursor.unexpected("an option");
    }
    return method;
  }

  /** Reads the type of a method's requests or responses; returns whether they are streamed. */
  #streamed(scope: string, found: (name: string) => void): boolean {
    const { cursor } = this;
    cursor.expect("(");
    const stream = cursor.at("stream") && !cursor.at(")", 1) ? cursor.accept("stream") : false;
    this.refer(cursor.reference("the name of a message"), scope, false, found);
    cursor.expect(")");
    return stream;
  }
}

/** Called with a range, which includes both ends; `open` if it was written with `max`. */
type AddRange = (start: number, end: number, open: boolean) => void;
