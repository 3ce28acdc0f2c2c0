import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createFileRegistry,
  type DescFile,
  type DescMessage,
  type FileRegistry,
  fromBinary,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

const ROOT = join(import.meta.dirname, "../..");

/** All messages of a file, nested ones included. */
export function messagesOf(file: DescFile): DescMessage[] {
  const withNested = (message: DescMessage): DescMessage[] => [
    message,
    ...message.nestedMessages.flatMap(withNested),
  ];
  return file.messages.flatMap(withNested);
}

/** Every message of this package. */
export async function generatedMessages(): Promise<DescMessage[]> {
  const folder = join(ROOT, "src/generated");
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

/** The messages of the .proto files beside this, which use every feature there is, compiled by buf. */
export function featureRegistry(): FileRegistry {
  const cache = mkdtempSync(join(tmpdir(), "codec-test-"));
  try {
    const buf = join(ROOT, "node_modules/.bin/buf");
    const set = execFileSync(buf, ["build", ".", "--as-file-descriptor-set", "-o", "-"], {
      cwd: join(import.meta.dirname, "protos"),
      env: { ...process.env, BUF_CACHE_DIR: cache },
    });
    return createFileRegistry(fromBinary(FileDescriptorSetSchema, set));
  } finally {
    rmSync(cache, { recursive: true, force: true });
  }
}

/** All messages to test with: this package's, those with every feature, and protobuf's own. */
export async function allMessages(): Promise<DescMessage[]> {
  const features = [...featureRegistry().files]
    .flatMap(messagesOf)
    .filter(({ name }) => name !== "Inherited");
  return [...(await generatedMessages()), ...features];
}
