import { Buffer } from "node:buffer";
import type { DescEnum, DescFile, DescMessage, DescService, Message } from "@bufbuild/protobuf";
import type {
  GenEnum,
  GenExtension,
  GenFile,
  GenMessage,
  GenService,
  GenServiceMethods,
} from "@bufbuild/protobuf/codegenv2";
import type { FileDescriptorProto } from "@bufbuild/protobuf/wkt";
import { Fields } from "./bytes.js";
import { enumOf } from "./enum.js";
import { extensionOf } from "./field.js";
import { messageOf } from "./message.js";
import { decodeProto } from "./proto.js";
import { serviceOf } from "./service.js";
import { own, ownFile, type OwnFile } from "./types.js";

/**
 * Descriptors for generated code, in place of those of `@bufbuild/protobuf/codegenv2`. They are the same objects: what
 * programs do with protobuf-es works with both. But protobuf-es must load most of itself, and decode descriptor.proto,
 * before it can make the first one. Here the fields of a message are read at their first use, and `proto`, which hardly
 * any program reads, is decoded with protobuf-es at its first use.
 *
 * Files must be of proto3.
 */

const EDITION_PROTO3 = 999;

/** A file that is imported: its descriptor, or a function that gives one of protobuf-es. */
type Import = DescFile | (() => DescFile);

/** Makes the descriptor of a file, given as its encoded FileDescriptorProto. */
export function fileDesc(base64: string, imports: readonly Import[] = []): GenFile {
  const bytes = Buffer.from(base64, "base64");
  const fields = new Fields(bytes, { at: 0, end: bytes.length });
  const fileName = fields.string(1);
  if (fields.string(12) !== "proto3") throw new Error(`${fileName} is not a file of proto3`);
  let dependencies: DescFile[] | undefined;
  let proto: FileDescriptorProto | undefined;
  const file: DescFile = {
    kind: "file",
    get proto() {
      return (proto ??= decodeProto(base64, file.dependencies));
    },
    deprecated: fields.option(8, 23) === 1,
    edition: EDITION_PROTO3,
    name: fileName.replace(/\.proto$/, ""),
    get dependencies() {
      return (dependencies ??= imports.map((each) => (typeof each === "function" ? each() : each)));
    },
    enums: [],
    messages: [],
    extensions: [],
    services: [],
    toString: () => `file ${fileName}`,
  };
  const context: OwnFile = {
    file,
    packageName: fields.string(2),
    imports: imports.flatMap((each) => (typeof each === "function" ? [] : (ownFile(each) ?? []))),
    types: new Map(),
    mapEntries: new Map(),
  };
  own(context);
  fields.messages(5).forEach((each, index) => {
    file.enums.push(enumOf(context, each, undefined, () => file.proto.enumType[index]!));
  });
  fields.messages(4).forEach((each, index) => {
    file.messages.push(messageOf(context, each, undefined, () => file.proto.messageType[index]!));
  });
  fields.messages(6).forEach((each, index) => {
    file.services.push(serviceOf(context, each, () => file.proto.service[index]!));
  });
  fields.messages(7).forEach((each, index) => {
    file.extensions.push(extensionOf(context, each, () => file.proto.extension[index]!));
  });
  return file as GenFile;
}

/** The message at a path: its index in the file, then in each message around it. */
export function messageDesc<Shape extends Message>(
  file: DescFile,
  path: number,
  ...paths: number[]
): GenMessage<Shape> {
  return nested(file, path, paths) as GenMessage<Shape>;
}

/** The enum at a path, as {@link messageDesc} has it. */
export function enumDesc<Shape extends number>(
  file: DescFile,
  path: number,
  ...paths: number[]
): GenEnum<Shape> {
  const last = paths.pop();
  const found: DescEnum | undefined =
    last === undefined ? file.enums[path] : nested(file, path, paths).nestedEnums[last];
  return found as GenEnum<Shape>;
}

/** The service with an index. */
export function serviceDesc<Methods extends GenServiceMethods>(
  file: DescFile,
  path: number,
): GenService<Methods> {
  return file.services[path] as DescService as GenService<Methods>;
}

/** The extension with an index. */
export function extDesc<Extendee extends Message, Value>(
  file: DescFile,
  path: number,
): GenExtension<Extendee, Value> {
  return file.extensions[path] as GenExtension<Extendee, Value>;
}

function nested(file: DescFile, path: number, paths: readonly number[]): DescMessage {
  return paths.reduce((message, index) => message.nestedMessages[index]!, file.messages[path]!);
}

/** Whether the descriptor of a message was made here, so that it is of proto3. */
export function isOwnMessage(desc: DescMessage): boolean {
  return ownFile(desc.file) !== undefined;
}
