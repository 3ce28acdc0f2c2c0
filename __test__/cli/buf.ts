import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { createFileRegistry, fromBinary, type JsonValue, toBinary, toJson } from "@bufbuild/protobuf";
import {
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";
import { temporaryPath } from "../helpers/temp.js";

const BUF = path.join(import.meta.dirname, "../../node_modules/.bin/buf");

/** Writes a folder of .proto files, given by name. */
export function folderOf(files: Readonly<Record<string, string>>): string {
  const folder = temporaryPath();
  mkdirSync(folder);
  for (const [name, text] of Object.entries(files)) writeFileSync(path.join(folder, name), text);
  return folder;
}

/** Builds a folder with buf: a set of descriptors, or the files that buf refuses. */
export type Built = { readonly set: Uint8Array } | { readonly refused: ReadonlyMap<string, string> };

export function bufBuild(folder: string): Built {
  const out = temporaryPath(".binpb");
  const args = [
    "build",
    ".",
    "--as-file-descriptor-set",
    "--exclude-source-info",
    "--error-format",
    "json",
    "-o",
    out,
  ];
  const { status, stdout, stderr } = spawnSync(BUF, args, {
    cwd: folder,
    encoding: "utf8",
    maxBuffer: 1 << 28,
    env: { ...process.env, BUF_CACHE_DIR: temporaryPath() },
  });
  if (status === 0) return { set: readFileSync(out) };
  const lines = `${stdout}${stderr}`.split("\n").filter((line) => line.startsWith("{"));
  const refused = new Map<string, string>();
  for (const line of lines) {
    const { path: file, message } = JSON.parse(line) as { path: string; message: string };
    refused.set(file, message);
  }
  if (refused.size === 0) throw new Error(`buf failed: ${stderr}`);
  return { refused };
}

/** The files of a set, without protobuf's own. */
export function filesOf(set: Uint8Array): FileDescriptorProto[] {
  return fromBinary(FileDescriptorSetSchema, set).file.filter(
    ({ name }) => !name.startsWith("google/protobuf/"),
  );
}

/**
 * A descriptor in a form that can be compared: custom options are spelled out, file names have no folder, and default
 * values of floating point, which can be written in several ways, are numbers.
 */
export function comparable(file: FileDescriptorProto, set: Uint8Array): JsonValue {
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, set));
  // Through the wire format, so that it does not matter how fields were set.
  const proto = fromBinary(FileDescriptorProtoSchema, toBinary(FileDescriptorProtoSchema, file));
  proto.name = path.basename(proto.name);
  proto.dependency = proto.dependency.map(short);
  proto.optionDependency = proto.optionDependency.map(short);
  return numbers(toJson(FileDescriptorProtoSchema, proto, { registry }));
}

function short(name: string): string {
  return name.startsWith("google/protobuf/") ? name : path.basename(name);
}

function numbers(json: JsonValue): JsonValue {
  if (Array.isArray(json)) return json.map(numbers);
  if (typeof json !== "object" || json === null) return json;
  const { defaultValue, type } = json;
  const rest = Object.fromEntries(Object.entries(json).map(([key, value]) => [key, numbers(value)]));
  if (typeof defaultValue !== "string" || (type !== "TYPE_FLOAT" && type !== "TYPE_DOUBLE")) return rest;
  const value = Number(defaultValue.replace("inf", "Infinity"));
  return { ...rest, defaultValue: String(type === "TYPE_FLOAT" ? Math.fround(value) : value) };
}
