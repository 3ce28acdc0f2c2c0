import { create } from "@bufbuild/protobuf";
import {
  type DescriptorProto,
  DescriptorProtoSchema,
  type FieldDescriptorProto,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Kind,
  FieldDescriptorProtoSchema,
  FieldOptionsSchema,
  FileDescriptorProtoSchema,
} from "@bufbuild/protobuf/wkt";
import { Cursor } from "./cursor.js";
import { camelCase, entryName, qualified, SCALARS } from "./names.js";
import { OptionParser } from "./option-parser.js";
import type { Name, Reference } from "./parsed.js";
import type { Source } from "./tokens.js";

/** The largest number that a field may have, and the largest that one of a message set may have. */
const MOST = { field: 2 ** 29 - 1, messageSet: 2 ** 31 - 2 } as const;

const LABELS: ReadonlyMap<string, Label> = new Map([
  ["optional", Label.OPTIONAL],
  ["required", Label.REQUIRED],
  ["repeated", Label.REPEATED],
]);

/** What fields are declared in. */
export interface Holder {
  /** Its full name. */
  readonly scope: string;
  readonly fields: FieldDescriptorProto[];
  /** Where the messages of groups and maps go. */
  readonly nested: DescriptorProto[];
  /** Of a oneof. */
  readonly oneofIndex?: number;
  /** Of extensions: what they extend. */
  readonly extendee?: Name;
}

/** Reads fields of every kind. */
export abstract class FieldParser {
  protected readonly source: Source;
  protected readonly cursor: Cursor;
  protected readonly proto = create(FileDescriptorProtoSchema);
  protected readonly references: Reference[] = [];
  protected readonly options: OptionParser;
  protected readonly places = new Map<object, number>();
  protected readonly maps = new Map<FieldDescriptorProto, DescriptorProto>();

  constructor(source: Source) {
    this.source = source;
    this.cursor = new Cursor(source);
    this.options = new OptionParser(this.cursor);
  }

  /** Reads what a message has between its braces. */
  protected abstract body(message: DescriptorProto, scope: string): void;

  /** Reads the name of a declaration. */
  protected named<T extends { name: string }>(declaration: T, what: string): T {
    const { text, at } = this.cursor.identifier(what);
    declaration.name = text;
    this.places.set(declaration, at);
    return declaration;
  }

  protected refer(
    name: Name,
    scope: string,
    enums: boolean,
    found: Reference["found"],
    extension?: FieldDescriptorProto,
  ): void {
    this.references.push({ ...name, scope, enums, found, extension });
  }

  /** Reads a field, a map or a group. */
  protected field(holder: Holder): void {
    const { cursor } = this;
    const { scope, oneofIndex, extendee } = holder;
    const field = create(FieldDescriptorProtoSchema, { label: Label.OPTIONAL });
    const labelled = this.#label(field, holder);
    const group = cursor.at("group") && cursor.peek(1).kind === "identifier" ? cursor.next() : undefined;
    const map = group === undefined && this.#mapAhead ? this.#mapTypes(field, holder, labelled) : undefined;
    const type =
      (group ?? map) === undefined ? cursor.reference("a field, or what else may be here") : undefined;
    this.named(field, "the name of a field");
    cursor.expect("=");
    this.#number(field, extendee === undefined ? MOST.field : MOST.messageSet);
    field.jsonName = camelCase(field.name);
    if (oneofIndex !== undefined) field.oneofIndex = oneofIndex;
    if (extendee !== undefined) {
      // Until it is found: that there is one matters before.
      field.extendee = extendee.name;
      this.refer(extendee, scope, false, (name) => (field.extendee = name), field);
    }
    const options = () => (field.options ??= create(FieldOptionsSchema));
    this.options.list(scope, FieldOptionsSchema, options, field);
    holder.fields.push(field);
    if (group !== undefined) return this.#group(field, holder, group.at);
    if (map !== undefined) this.#entry(field, map, holder);
    else if (type !== undefined) this.#type(field, type, scope);
    cursor.expect(";");
  }

  get #mapAhead(): boolean {
    return this.cursor.at("map") && this.cursor.at("<", 1);
  }

  /** Reads the label of a field; tells whether there is one. */
  #label(field: FieldDescriptorProto, { oneofIndex, extendee }: Holder): boolean {
    const { cursor, source } = this;
    const { syntax } = this.proto;
    const { text, kind, at } = cursor.peek();
    const label = kind === "identifier" ? LABELS.get(text) : undefined;
    if (label === undefined) {
      if (syntax === "" && oneofIndex === undefined && !this.#mapAhead) {
        throw cursor.unexpected('"optional", "required" or "repeated", or what else may be here');
      }
      return false;
    }
    if (oneofIndex !== undefined) throw source.error(at, `a field of a oneof must not be ${text}`);
    if (label === Label.REQUIRED && (syntax === "proto3" || extendee !== undefined)) {
      throw source.error(at, `${extendee === undefined ? "in proto3 no field" : "no extension"} is required`);
    }
    if (label !== Label.REPEATED && syntax === "editions") {
      throw source.error(at, `editions have no ${text}, but features.field_presence`);
    }
    cursor.next();
    field.label = label;
    if (label === Label.OPTIONAL && syntax === "proto3") field.proto3Optional = true;
    return true;
  }

  #number(field: FieldDescriptorProto, most: number): void {
    const { at } = this.cursor.peek();
    field.number = this.cursor.integer("the number of a field", 1, most);
    if (field.number >= 19_000 && field.number <= 19_999) {
      throw this.source.error(at, "the numbers 19000 to 19999 are protobuf's own");
    }
  }

  #type(field: FieldDescriptorProto, type: Name, scope: string): void {
    const scalar = SCALARS.get(type.name);
    if (scalar !== undefined) {
      field.type = scalar;
      return;
    }
    this.refer(type, scope, true, (name, isEnum) => {
      field.typeName = name;
      field.type = isEnum ? Kind.ENUM : Kind.MESSAGE;
    });
  }

  #group(field: FieldDescriptorProto, { scope, nested }: Holder, at: number): void {
    if (this.proto.syntax !== "") throw this.source.error(at, "only proto2 has groups");
    if (!/^[A-Z]/.test(field.name)) throw this.source.error(at, "the name of a group begins with a capital");
    const message = create(DescriptorProtoSchema, { name: field.name });
    this.places.set(message, at);
    nested.push(message);
    const own = field.jsonName !== camelCase(field.name);
    field.type = Kind.GROUP;
    field.name = field.name.toLowerCase();
    if (!own) field.jsonName = camelCase(field.name);
    const name = qualified(scope, message.name);
    field.typeName = `.${name}`;
    this.body(message, name);
  }

  #mapTypes(field: FieldDescriptorProto, { oneofIndex, extendee }: Holder, labelled: boolean): MapTypes {
    const { cursor, source } = this;
    const { at } = cursor.next();
    if (labelled || (oneofIndex ?? extendee) !== undefined) {
      throw source.error(at, "a map has no label, and is neither in a oneof nor an extension");
    }
    cursor.expect("<");
    const { name, at: keyAt } = cursor.reference("the type of the keys");
    const key = SCALARS.get(name);
    if (key === undefined || key === Kind.BYTES || key === Kind.DOUBLE || key === Kind.FLOAT) {
      throw source.error(keyAt, `the keys of a map cannot be of type ${name}`);
    }
    cursor.expect(",");
    const value = cursor.reference("the type of the values");
    cursor.expect(">");
    field.label = Label.REPEATED;
    return { key, value };
  }

  /** The message that a map is made of on the wire. */
  #entry(field: FieldDescriptorProto, { key, value }: MapTypes, { scope, nested }: Holder): void {
    const message = create(DescriptorProtoSchema, {
      name: entryName(field.name),
      options: { mapEntry: true },
      field: [
        { name: "key", jsonName: "key", number: 1, label: Label.OPTIONAL, type: key },
        { name: "value", jsonName: "value", number: 2, label: Label.OPTIONAL },
      ],
    });
    this.places.set(message, this.places.get(field) ?? 0);
    this.#type(message.field[1]!, value, scope);
    nested.push(message);
    this.maps.set(field, message);
    field.type = Kind.MESSAGE;
    field.typeName = `.${qualified(scope, message.name)}`;
  }
}

interface MapTypes {
  readonly key: Kind;
  readonly value: Name;
}
