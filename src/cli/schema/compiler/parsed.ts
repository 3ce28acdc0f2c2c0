import type { DescMessage, Message } from "@bufbuild/protobuf";
import type {
  DescriptorProto,
  DescriptorProto_ExtensionRange,
  FieldDescriptorProto,
  FileDescriptorProto,
} from "@bufbuild/protobuf/wkt";
import type { Source, Token } from "./tokens.js";

/** A name, and its index in the source. */
export interface Name {
  readonly name: string;
  readonly at: number;
}

/** The name of a type, which is looked up once all files are known. */
export interface Reference extends Name {
  /** The full name of the declaration around it. */
  readonly scope: string;
  /** Whether it may be an enum, too. */
  readonly enums: boolean;
  /** The extension, if the type is the message that it extends. */
  readonly extension?: FieldDescriptorProto;
  /** Called with the type's full name, with a leading dot. */
  found(typeName: string, isEnum: boolean): void;
}

/** A part of the name of an option. */
export interface OptionPart extends Name {
  /** Whether it is the name of an extension, in parentheses. */
  readonly extension: boolean;
}

/** An option that is set. */
export interface OptionUse {
  /** The full name of the declaration around it. */
  readonly scope: string;
  readonly parts: readonly OptionPart[];
  /** In the text format of protobuf, with its colon where it needs one. */
  readonly value: string;
  readonly schema: DescMessage;
  /** The message of options in which it is set. */
  target(): Message;
}

/** The default value of a field whose type is not known yet. */
export interface DefaultUse {
  readonly field: FieldDescriptorProto;
  readonly at: number;
  readonly negative: boolean;
  /** The tokens of the value; if there are several, they are strings. */
  readonly tokens: readonly Token[];
}

/** A file that another one imports. */
export interface Import extends Name {
  /** Only for options: its types must not be used for anything else. */
  readonly option: boolean;
}

/** A .proto file, read but not yet linked with those that it imports. */
export interface Parsed {
  readonly source: Source;
  /** Without its dependencies, which the loader names. */
  readonly proto: FileDescriptorProto;
  readonly imports: readonly Import[];
  readonly references: readonly Reference[];
  readonly options: readonly OptionUse[];
  readonly defaults: readonly DefaultUse[];
  /** Maps, with the messages of their entries. */
  readonly maps: ReadonlyMap<FieldDescriptorProto, DescriptorProto>;
  /** Ranges of extensions up to `max`, with their messages. */
  readonly openRanges: readonly (readonly [DescriptorProto, DescriptorProto_ExtensionRange])[];
  /** The indices of declarations in the source. */
  readonly places: ReadonlyMap<object, number>;
}
