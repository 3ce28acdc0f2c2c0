import { basename } from "node:path";
import type { Any } from "@bufbuild/protobuf/wkt";
import { Status } from "containerd-shim-protos/types";
import { registry } from "containerd-shim-protos/registry";
import { unpackAny } from "containerd-shim-protos";

/** A message in a form that is the same in two runs. */
export type Shown = string | number | boolean | null | readonly Shown[] | { readonly [name: string]: Shown };

/** Go's zero time: seconds since 1970. */
const YEAR_ONE = -62_135_596_800n;

/** Metrics that may be zero for a moment. */
const MOVING: ReadonlySet<string> = new Set(["cpu", "memory"]);

/** Fields that name a process, which differs from run to run. */
const PIDS: ReadonlySet<string> = new Set(["pid", "shimPid", "taskPid"]);

/**
 * Shows a value: process ids, times and names of temporary folders as what they are, metrics as zero or not, and empty
 * values not at all.
 */
export function show(value: unknown, folder: string): Shown {
  return shown("", value, folder.slice(0, folder.lastIndexOf("/")));
}

function shown(name: string, value: unknown, folder: string, isMoving = false): Shown {
  if (typeof value === "bigint") return value === 0n && !isMoving ? 0 : "number";
  if (typeof value === "number") {
    if (PIDS.has(name)) return value === 0 ? 0 : "pid";
    return name === "status" ? (Status[value] ?? value) : value;
  }
  if (typeof value === "string") {
    return value
      .replaceAll(folder, "<folder>")
      .replaceAll(basename(folder), "<namespace>")
      .replaceAll(/<folder>\/fifos\/\d+/g, "<fifos>")
      .replaceAll(/containerd-shim-\w+-v1/g, "<shim>");
  }
  if (Array.isArray(value)) return value.map((item) => shown("", item, folder, isMoving));
  if (value instanceof Uint8Array) return value.length === 0 ? "" : "bytes";
  if (typeof value !== "object" || value === null) return value as boolean;
  const message = value as Record<string, unknown> & { $typeName?: string };
  if (message.$typeName === "google.protobuf.Timestamp") {
    return (message as unknown as { seconds: bigint }).seconds === YEAR_ONE ? "never" : "time";
  }
  if (message.$typeName === "google.protobuf.Any") {
    const any = value as Any;
    const content = unpackAny(any, registry);
    return { "@type": any.typeUrl, ...(content && (shown("", content, folder) as object)) };
  }
  const moving = message.$typeName?.includes(".cgroups.") === true && (isMoving || MOVING.has(name));
  const fields = Object.entries(message).filter(
    ([key, field]) => key !== "$typeName" && (!isEmpty(field) || (moving && typeof field === "bigint")),
  );
  return Object.fromEntries(fields.map(([key, field]) => [key, shown(key, field, folder, moving)]));
}

function isEmpty(field: unknown): boolean {
  const values: readonly unknown[] = [undefined, null, "", 0, 0n, false];
  return values.includes(field) || (Array.isArray(field) && field.length === 0);
}
