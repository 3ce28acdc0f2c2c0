import { fileURLToPath } from "node:url";
import type { ProtobufEs } from "./parts.js";

const nodeModule = process.getBuiltinModule("node:module");

let loaded: ProtobufEs | undefined;

/**
 * protobuf-es, loaded at the first call: its modules take several times as long to load as this package, and most
 * clients never need them. It is the copy that `import "@bufbuild/protobuf"` gives a program.
 */
export function protobufEs(): ProtobufEs {
  return (loaded ??= {
    ...load<Pick<ProtobufEs, "create" | "fromBinary" | "isMessage" | "toBinary">>("@bufbuild/protobuf"),
    // Not "@bufbuild/protobuf/wkt", which has thirty files more.
    ...load<Pick<ProtobufEs, "FileDescriptorProtoSchema">>(
      "@bufbuild/protobuf/wkt/google/protobuf/descriptor_pb.js",
    ),
  });
}

/**
 * Codes of errors where Node cannot require ES modules: it was started with --no-experimental-require-module, or they are in
 * an archive of Yarn's Plug'n'Play, from which it can only import them.
 */
const UNREQUIRABLE = new Set<unknown>(["ERR_REQUIRE_ESM", "ERR_MODULE_NOT_FOUND"]);

/**
 * Requires an ES module by its path. By its name, require would give the copy for CommonJS, which shares nothing with
 * the one that programs import.
 */
function load<T>(name: string): T {
  const url = import.meta.resolve(name);
  const require = nodeModule.createRequire(url);
  try {
    return require(fileURLToPath(url)) as T;
  } catch (error) {
    if (!UNREQUIRABLE.has((error as { code?: unknown } | undefined)?.code)) throw error;
    return require(name) as T;
  }
}
