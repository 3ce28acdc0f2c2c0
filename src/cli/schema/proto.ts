import { existsSync, realpathSync, statSync } from "node:fs";
import path from "node:path";
import type { DescFile, Registry } from "@bufbuild/protobuf";
import type { FileDescriptorProto } from "@bufbuild/protobuf/wkt";
import { UsageError } from "../errors.js";
import { readFile } from "../files.js";
import { Linker } from "./compiler/link.js";
import type { Parsed } from "./compiler/parsed.js";
import { parseProto } from "./compiler/parser.js";
import { Source } from "./compiler/tokens.js";
import { registryOfFiles } from "./files.js";
import { WELL_KNOWN_FILES } from "./well-known.js";

/**
 * The types of .proto files and of everything that they import. Imports are looked up in the import paths, then in the
 * folders of the files themselves; protobuf's own files are always there.
 */
export function registryOfProtos(files: readonly string[], importPaths: readonly string[]): Registry {
  return registryOfFiles(compile(files, importPaths), files.join(", "));
}

/** The descriptors of .proto files and of everything that they import, except protobuf's own. */
export function compile(
  files: readonly string[],
  importPaths: readonly string[] = [],
): FileDescriptorProto[] {
  const loader = new Loader(importPaths);
  for (const file of files) loader.load(file);
  const linker = new Linker(loader.parsed, loader.wellKnown);
  return linker.link((protos) => registryOfFiles(protos, files.join(", ")));
}

/** Reads files and what they import. */
class Loader {
  /** By the real path, because one file may be imported under several names. */
  readonly #parsed = new Map<string, Parsed>();
  readonly #wellKnown = new Map<string, DescFile>();
  readonly #importPaths: readonly string[];
  /** The folders of the files that were named, for imports between files of one folder. */
  readonly #folders = new Set<string>();

  constructor(importPaths: readonly string[]) {
    this.#importPaths = importPaths;
  }

  get parsed(): Parsed[] {
    return [...this.#parsed.values()];
  }

  get wellKnown(): DescFile[] {
    return [...this.#wellKnown.values()];
  }

  /** Reads a file that the user named. */
  load(name: string): void {
    const candidates = [name, ...this.#importPaths.map((folder) => path.join(folder, name))];
    const found = candidates.find((candidate) => existsSync(candidate));
    if (found === undefined) throw new UsageError(`there is no ${candidates.join(" and no ")}`);
    this.#folders.add(path.dirname(found));
    this.#loadFile(found);
  }

  /** Reads an imported file; returns its name in the descriptors. */
  #import(name: string, importer: string): string {
    const wellKnown = WELL_KNOWN_FILES.get(name);
    if (wellKnown !== undefined) {
      this.#addWellKnown(wellKnown);
      return name;
    }
    const candidates = [...this.#importPaths, ...this.#folders].map((folder) => path.join(folder, name));
    // A file may come from anywhere, and reading a pipe or a device may never end.
    const found = candidates.find((candidate) => statSync(candidate, { throwIfNoEntry: false })?.isFile());
    if (found !== undefined) return this.#loadFile(found);
    throw new UsageError(
      `${importer} imports ${name}: there is no ${candidates.join(" and no ")}`,
      "--import-path with the folder that imports start from",
    );
  }

  #addWellKnown(file: DescFile): void {
    if (this.#wellKnown.has(file.proto.name)) return;
    this.#wellKnown.set(file.proto.name, file);
    for (const dependency of file.dependencies) this.#addWellKnown(dependency);
  }

  #loadFile(file: string): string {
    const name = realpathSync(file);
    const wellKnown = [...WELL_KNOWN_FILES.values()].find(({ proto }) => name.endsWith(`/${proto.name}`));
    if (wellKnown !== undefined) {
      this.#addWellKnown(wellKnown);
      return wellKnown.proto.name;
    }
    if (this.#parsed.has(name)) return name;
    const parsed = parseProto(new Source(file, readText(file)));
    const { proto, imports } = parsed;
    proto.name = name;
    // Before its imports are read, so that a cycle ends here. Cycles are refused later.
    this.#parsed.set(name, parsed);
    const seen = new Set<string>();
    for (const { name: imported, at, option } of imports) {
      if (seen.has(imported)) throw parsed.source.error(at, `${imported} is imported twice`);
      seen.add(imported);
      if (!isInside(imported))
        throw parsed.source.error(at, `${JSON.stringify(imported)} is no path below the import paths`);
      (option ? proto.optionDependency : proto.dependency).push(this.#import(imported, file));
    }
    return name;
  }
}

/** Whether an import stays in its folder. protoc and buf refuse others, too: they would read any file of the user's. */
function isInside(name: string): boolean {
  return name.split("/").every((part) => part !== "" && part !== "." && part !== "..");
}

function readText(file: string): string {
  const bytes = readFile(file);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new UsageError(`${file} is not UTF-8`);
  }
}
