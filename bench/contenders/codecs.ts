/**
 * The same messages for the codecs to compare with. At the start of a run, ts-proto and protobufjs generate their code
 * from the descriptors that ours comes from.
 */

import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { create, type DescFile, type DescMessage, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  CodeGeneratorRequestSchema,
  CodeGeneratorResponseSchema,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";

const ROOT = join(import.meta.dirname, "../..");
// Inside the package, so that the generated code finds its runtime.
const OUTPUT = join(ROOT, "bench/.generated");

/** The code that both generate for a message. */
export interface GeneratedCodec {
  encode(message: unknown): { finish(): Uint8Array };
  decode(bytes: Uint8Array): unknown;
}

/** Finds generated code. */
export interface Contenders {
  tsProto(desc: DescMessage): Promise<GeneratedCodec>;
  protobufJs(desc: DescMessage): Promise<GeneratedCodec>;
}

/** Files with all their imports, imported files first. */
function withImports(roots: readonly DescFile[]): ReadonlyMap<string, DescFile> {
  const files = new Map<string, DescFile>();
  const add = (file: DescFile): void => {
    file.dependencies.forEach(add);
    files.set(file.proto.name, file);
  };
  roots.forEach(add);
  return files;
}

/** Writes the descriptors of a file and of all its imports to a file, and returns the path. */
export function writeDescriptors(root: DescFile): string {
  const file = [...withImports([root]).values()].map(({ proto }) => proto);
  const path = join(OUTPUT, "descriptors.bin");
  writeFileSync(path, toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file })));
  return path;
}

/** Generates the code of files and of all their imports. */
export function generate(roots: readonly DescFile[]): void {
  const files = withImports(roots);
  rmSync(OUTPUT, { recursive: true, force: true });
  const options =
    "importSuffix=.js,forceLong=bigint,useDate=false,outputJsonMethods=false,outputServices=none";
  run("protoc-gen-ts_proto", files, `esModuleInterop=true,${options}`, "ts-proto");
  run("protoc-gen-pbjs", files, "target=static-module", "protobufjs");
}

/** The generated codecs. */
export const contenders: Contenders = {
  async tsProto({ file, typeName }) {
    const path = join(OUTPUT, "ts-proto", `${file.name}.ts`);
    const module = (await import(path)) as Record<string, GeneratedCodec>;
    return found(module[typeName.slice(typeName.lastIndexOf(".") + 1)], typeName);
  },
  async protobufJs({ typeName }) {
    const { default: root } = (await import(join(OUTPUT, "protobufjs/index.js"))) as { default: unknown };
    let at = root as Record<string, unknown> | undefined;
    for (const name of typeName.split(".")) at = at?.[name] as typeof at;
    return found(at as unknown as GeneratedCodec | undefined, typeName);
  },
};

function found(codec: GeneratedCodec | undefined, typeName: string): GeneratedCodec {
  if (codec === undefined) throw new Error(`nothing was generated for ${typeName}`);
  return codec;
}

function run(plugin: string, files: ReadonlyMap<string, DescFile>, parameter: string, folder: string): void {
  const protos = [...files.values()].map(({ proto }) => proto);
  const request = create(CodeGeneratorRequestSchema, {
    fileToGenerate: protos.map(({ name }) => name),
    protoFile: protos,
    parameter,
  });
  const { stdout, stderr, status } = spawnSync(join(ROOT, "node_modules/.bin", plugin), {
    input: toBinary(CodeGeneratorRequestSchema, request),
    maxBuffer: 1 << 28,
  });
  if (status !== 0) throw new Error(`${plugin} failed: ${stderr.toString()}`);
  const response = fromBinary(CodeGeneratorResponseSchema, stdout);
  if (response.error !== "") throw new Error(`${plugin}: ${response.error}`);
  for (const { name, content } of response.file) {
    const path = join(OUTPUT, folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }
}
