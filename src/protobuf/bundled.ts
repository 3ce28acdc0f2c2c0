import { create, fromBinary, isMessage, toBinary } from "@bufbuild/protobuf";
import { boot, type GenMessage, messageDesc } from "@bufbuild/protobuf/codegenv2";
import type { FileDescriptorProto } from "@bufbuild/protobuf/wkt";
import { descriptorBoot } from "../protos/generated/google/protobuf/descriptor_boot.js";
import type { ProtobufEs } from "./parts.js";

let schema: GenMessage<FileDescriptorProto> | undefined;

/**
 * protobuf-es, imported with the program. `#protobuf` in package.json gives this module to all but Node, which alone has
 * the condition `node-addons`: bundlers must see the import to bundle it.
 *
 * It does not import `@bufbuild/protobuf/wkt`. A bundle would evaluate that at its start, and thus make the descriptor of
 * descriptor.proto, which takes longer and holds more memory than the rest of protobuf-es.
 */
export function protobufEs(): ProtobufEs {
  return {
    create,
    fromBinary,
    isMessage,
    toBinary,
    get FileDescriptorProtoSchema() {
      return (schema ??= messageDesc<FileDescriptorProto>(boot(JSON.parse(descriptorBoot())), 1));
    },
  };
}
