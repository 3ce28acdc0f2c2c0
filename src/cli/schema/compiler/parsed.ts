import type { DescMessage, Message } from "@bufbuild/protobuf";
import type {
  DescriptorProto,
  DescriptorProto_ExtensionRange,
  FieldDescriptorProto,
  FileDescriptorProto,
} from "@bufbuild/protobuf/wkt";
import type { Source, Token } from "./tokens.js";

/** A name, and where it stands. */
export interface Name {
  readonly name: string;
  readonly at: number;
}

/** A name that stands for a type, to be found when all files are known. */
export interface Reference extends Name {
  /** The full name of what it stands in. */
  readonly scope: string;
  /** Whether it may be an enum, too. */
  readonly enums: boolean;
  /** The extension of which it is the message to extend. */
  readonly extension?: FieldDescriptorProto;
  /** Called with what was found, a leading dot before its name. */
  found(typeName: string, isEnum: boolean): void;
}

/** A part of the name of an option. */
export interface OptionPart extends Name {
  /** Whether it is the name of an extension, in parentheses. */
  readonly extension: boolean;
}

/** An option that is set. */
export interface OptionUse {
  /** The full name of what it stands in. */
  readonly scope: string;
  readonly parts: readonly OptionPart[];
  /** In the text format of protobuf, with its colon where it needs one. */
  readonly value: string;
  readonly schema: DescMessage;
  /** The message of options that it belongs to. */
  target(): Message;
}

/** The default value of a field, whose type is not known yet. */
export interface DefaultUse {
  readonly field: FieldDescriptorProto;
  readonly at: number;
  readonly negative: boolean;
  /** The words of the value; several of them are strings. */
  readonly tokens: readonly Token[];
}

/** A file that another one imports. */
export interface Import extends Name {
  /** Only for options: its types are not to be used otherwise. */
  readonly option: boolean;
}

/** A .proto file, read but not yet linked with those that it imports. */
export interface Parsed {
  readonly source: Source;
  /** Without its dependencies, whose names are the loader's to give. */
  readonly proto: FileDescriptorProto;
  readonly imports: readonly Import[];
  readonly references: readonly Reference[];
  readonly options: readonly OptionUse[];
  readonly defaults: readonly DefaultUse[];
  /** Maps with the messages that they are made of. */
  readonly maps: ReadonlyMap<FieldDescriptorProto, DescriptorProto>;
  /** Ranges of extensions up to `max`, with their messages. */
  readonly openRanges: readonly (readonly [DescriptorProto, DescriptorProto_ExtensionRange])[];
  /** Where declarations stand. */
  readonly places: ReadonlyMap<object, number>;
}
