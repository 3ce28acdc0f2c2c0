import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { DescFile, DescMessage, FileRegistry } from "@bufbuild/protobuf";
import { REQUIRED } from "../../src/codec/wire-types.js";
import { conformanceRegistry } from "../conformance/messages.js";
import { compileProtos, messagesOf } from "../helpers/protos.js";

const ROOT = join(import.meta.dirname, "../..");

/** Every message of this package. */
export async function generatedMessages(): Promise<DescMessage[]> {
  const folder = join(ROOT, "src/protos/generated");
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith("_pb.ts"),
  );
  const modules = await Promise.all(
    names.map((name) => import(join(folder, name)) as Promise<Record<string, DescFile>>),
  );
  return modules.flatMap((module) =>
    Object.entries(module).flatMap(([name, value]) => (name.startsWith("file_") ? messagesOf(value) : [])),
  );
}

/** The messages of the .proto files beside this file, which use every feature of protobuf. */
export function featureRegistry(): FileRegistry {
  return compileProtos(join(import.meta.dirname, "protos"));
}

/** All messages to test with: this package's, those with every feature, protobuf's own and those of its test suite. */
export async function allMessages(): Promise<DescMessage[]> {
  const suite = [...conformanceRegistry().files].flatMap(messagesOf).filter((desc) => canExist(desc));
  const features = [...featureRegistry().files]
    .flatMap(messagesOf)
    .filter(({ typeName }) => !typeName.includes("Inherited"));
  return [...(await generatedMessages()), ...features, ...suite];
}

/** The suite has messages that require a message of their own type. */
function canExist(desc: DescMessage, around: readonly DescMessage[] = []): boolean {
  if (around.includes(desc)) return false;
  const required = desc.fields.filter(({ presence }) => presence === REQUIRED);
  return required.every(({ message }) => message === undefined || canExist(message, [...around, desc]));
}
