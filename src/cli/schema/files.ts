import {
  createFileRegistry,
  createRegistry,
  type DescFile,
  fromBinary,
  type Registry,
} from "@bufbuild/protobuf";
import { type FileDescriptorProto, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { UsageError } from "../errors.js";
import { WELL_KNOWN_FILES } from "./well-known.js";

/** The types of files, in any order. Throws a UsageError if one imports a file that is missing. */
export function registryOfFiles(files: readonly FileDescriptorProto[], where: string): Registry {
  const protos = new Map(files.map((file) => [file.name, file]));
  const built = new Map(WELL_KNOWN_FILES);
  const build = (name: string, importer: string, path: readonly string[]): void => {
    if (built.has(name)) return;
    const proto = protos.get(name);
    if (proto === undefined) {
      throw new UsageError(
        `${where}: ${importer} imports ${name}, which is not in it`,
        "protoc's --include_imports when you make the descriptor set",
      );
    }
    if (path.includes(name)) throw new UsageError(`${where}: ${[...path, name].join(" imports ")}`);
    for (const dependency of proto.dependency) build(dependency, name, [...path, name]);
    let file: DescFile | undefined;
    try {
      file = createFileRegistry(proto, (dependency) => built.get(dependency)).getFile(name);
    } catch (error) {
      throw new UsageError(`${where}: ${name}: ${(error as Error).message}`);
    }
    if (file !== undefined) built.set(name, file);
  };
  for (const { name } of files) build(name, "", []);
  return createRegistry(...[...protos.keys()].flatMap((name) => built.get(name) ?? []));
}

/** The types of a descriptor set, as `protoc --descriptor_set_out` and `buf build` write it. */
export function registryOfSet(bytes: Uint8Array, where: string): Registry {
  let files: FileDescriptorProto[];
  try {
    files = fromBinary(FileDescriptorSetSchema, bytes).file;
  } catch (error) {
    throw new UsageError(
      `${where} is not a descriptor set: ${(error as Error).message}`,
      "protoc --include_imports --descriptor_set_out=FILE, or `--proto` for a .proto file",
    );
  }
  return registryOfFiles(files, where);
}
