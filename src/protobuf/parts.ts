import type { create, fromBinary, isMessage, toBinary } from "@bufbuild/protobuf";
import type { GenMessage } from "@bufbuild/protobuf/codegenv2";
import type { FileDescriptorProto } from "@bufbuild/protobuf/wkt";

/** What this package runs of protobuf-es when its own code does not suffice. */
export interface ProtobufEs {
  readonly create: typeof create;
  readonly fromBinary: typeof fromBinary;
  readonly isMessage: typeof isMessage;
  readonly toBinary: typeof toBinary;
  /** Describes {@link FileDescriptorProto}. */
  readonly FileDescriptorProtoSchema: GenMessage<FileDescriptorProto>;
}
