import type { DescFile } from "@bufbuild/protobuf";
import * as wkt from "@bufbuild/protobuf/wkt";

/** protobuf's own files by the names under which they are imported. */
export const WELL_KNOWN_FILES: ReadonlyMap<string, DescFile> = new Map(
  Object.values(wkt)
    .filter((value): value is DescFile => (value as { kind?: unknown }).kind === "file")
    .map((file) => [file.proto.name, file]),
);
