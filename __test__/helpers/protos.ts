import { execFileSync } from "node:child_process";
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

/** All messages of a file, including nested ones. */
export function messagesOf(file: DescFile): DescMessage[] {
  const withNested = (message: DescMessage): DescMessage[] => [
    message,
    ...message.nestedMessages.flatMap(withNested),
  ];
  return file.messages.flatMap(withNested);
}

/** The types of all .proto files of a folder, compiled by buf. */
export function compileProtos(folder: string): FileRegistry {
  const cache = mkdtempSync(join(tmpdir(), "protos-"));
  try {
    const buf = join(import.meta.dirname, "../../node_modules/.bin/buf");
    const set = execFileSync(buf, ["build", ".", "--as-file-descriptor-set", "-o", "-"], {
      cwd: folder,
      env: { ...process.env, BUF_CACHE_DIR: cache },
    });
    return createFileRegistry(fromBinary(FileDescriptorSetSchema, set));
  } finally {
    rmSync(cache, { recursive: true, force: true });
  }
}
