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

/** The largest number of a field, and the largest of one in a message set. */
const MOST = { field: 2 ** 29 - 1, messageSet: 2 ** 31 - 2 } as const;

const LABELS: ReadonlyMap<string, Label> = new Map([
  ["optional", Label.OPTIONAL],
  ["required", Label.REQUIRED],
  ["repeated", Label.REPEATED],
]);

/** The declaration that fields are in. */
export interface Holder {
  /** Its full name. */
  readonly scope: string;
  readonly fields: FieldDescriptorProto[];
  /** Where the messages of groups and maps go. */
  readonly nested: DescriptorProto[];
  /** Set in a oneof. */
  readonly oneofIndex?: number;
  /** Set for extensions: the message that they extend. */
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

  /** Reads the part of a message in braces. */
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
      (group ?? map) === undefined ? cursor.reference("a field or another declaration") : undefined;
    this.named(field, "the name of a field");
    cursor.expect("=");
    this.#number(field, extendee === undefined ? MOST.field : MOST.messageSet);
    field.jsonName = camelCase(field.name);
    if (oneofIndex !== undefined) field.oneofIndex = oneofIndex;
    if (extendee !== undefined) {
      // A placeholder until the message is found, because whether there is one matters earlier.
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

  /** Reads the label of a field; returns whether there is one. */
  #label(field: FieldDescriptorProto, { oneofIndex, extendee }: Holder): boolean {
    const { cursor, source } = this;
    const { syntax } = this.proto;
    const { text, kind, at } = cursor.peek();
    const label = kind === "identifier" ? LABELS.get(text) : undefined;
    if (label === undefined) {
      if (syntax === "" && oneofIndex === undefined && !this.#mapAhead) {
        throw cursor.unexpected('"optional", "required", "repeated" or another declaration');
      }
      return false;
    }
    if (oneofIndex !== undefined) throw source.error(at, `a field of a oneof must not be ${text}`);
    if (label === Label.REQUIRED && (syntax === "proto3" || extendee !== undefined)) {
      throw source.error(
        at,
        `${extendee === undefined ? "a field of proto3" : "an extension"} must not be required`,
      );
    }
    if (label !== Label.REPEATED && syntax === "editions") {
      throw source.error(at, `editions have features.field_presence instead of ${text}`);
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
    if (!/^[A-Z]/.test(field.name))
      throw this.source.error(at, "the name of a group must begin with a capital letter");
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
      throw source.error(at, "a map must not have a label, be in a oneof or be an extension");
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

  /** Adds the message that stands for an entry of a map on the wire. */
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
