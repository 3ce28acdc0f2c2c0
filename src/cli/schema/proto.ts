import { existsSync, readFileSync, realpathSync } from "node:fs";
import path from "node:path";
import type { DescEnum, DescMessage, Registry } from "@bufbuild/protobuf";
import protobuf from "protobufjs";
import { UsageError } from "../errors.js";
import { descriptorOf, type SourceFile } from "./descriptor.js";
import { registryOfFiles } from "./files.js";
import { WELL_KNOWN_FILES } from "./well-known.js";

/**
 * The types of .proto files and of all that they import. Imports are looked for in the import paths, then in the folders of
 * the files themselves; protobuf's own files are always there.
 */
export function registryOfProtos(files: readonly string[], importPaths: readonly string[]): Registry {
  const loader = new Loader(importPaths);
  for (const file of files) loader.load(file);
  const sources = loader.finish();
  return registryOfFiles(sources.map(descriptorOf), files.join(", "));
}

/** Parses files into one tree of types, which knows which file each of them is from. */
class Loader {
  readonly #root = new protobuf.Root();
  /** By the real path, since one file may be imported by several names. */
  readonly #sources = new Map<string, SourceFile>();
  readonly #importPaths: readonly string[];
  /** The folders of the files that were named, for imports between files of one folder. */
  readonly #folders = new Set<string>();

  constructor(importPaths: readonly string[]) {
    this.#importPaths = importPaths;
  }

  /** Loads a file that the user named. */
  load(name: string): void {
    const candidates = [name, ...this.#importPaths.map((folder) => path.join(folder, name))];
    const found = candidates.find((candidate) => existsSync(candidate));
    if (found === undefined) throw new UsageError(`there is no ${candidates.join(" and no ")}`);
    this.#folders.add(path.dirname(found));
    this.#loadFile(found);
  }

  /** Loads what a file imports; returns by what name the descriptors know it. */
  #import(name: string, importer: string): string {
    const wellKnown = WELL_KNOWN_FILES.get(name);
    if (wellKnown !== undefined) {
      if (!this.#sources.has(name)) {
        const namespace = this.#root.define("google.protobuf");
        // Only the names are needed, to resolve references.
        for (const type of [...wellKnown.messages, ...wellKnown.enums]) namespace.add(placeholder(type));
        this.#sources.set(name, { name, dependencies: [], types: [], wellKnown: true });
      }
      return name;
    }
    const candidates = [...this.#importPaths, ...this.#folders].map((folder) => path.join(folder, name));
    const found = candidates.find((candidate) => existsSync(candidate));
    if (found !== undefined) return this.#loadFile(found);
    throw new UsageError(
      `${importer} imports ${name}: there is no ${candidates.join(" and no ")}`,
      "--import-path with the folder that imports start from",
    );
  }

  #loadFile(file: string): string {
    const name = realpathSync(file);
    if (this.#sources.has(name)) return name;
    let text: string;
    try {
      text = readFileSync(name, "utf8");
    } catch (error) {
      throw new UsageError(`cannot read ${file}: ${(error as Error).message}`);
    }
    const parsed = this.#parse(name, text);
    const dependencies: string[] = [];
    // Before its imports, so that a cycle ends here; which it is not allowed to be is found out later.
    this.#sources.set(name, { name, package: parsed.package, dependencies, types: [], wellKnown: false });
    for (const imported of [...(parsed.imports ?? []), ...(parsed.weakImports ?? [])]) {
      dependencies.push(this.#import(imported, file));
    }
    return name;
  }

  /** The files with what each declares. Throws a UsageError for a type that nobody declares. */
  finish(): SourceFile[] {
    try {
      this.#root.resolveAll();
    } catch (error) {
      throw new UsageError(`a type cannot be resolved: ${(error as Error).message}`);
    }
    const visit = (namespace: protobuf.NamespaceBase) => {
      for (const object of namespace.nestedArray) {
        if (object.filename !== null) this.#sources.get(object.filename)?.types.push(object);
        else if (object instanceof protobuf.Namespace) visit(object);
      }
    };
    visit(this.#root);
    return [...this.#sources.values()].filter(({ wellKnown }) => !wellKnown);
  }

  #parse(name: string, source: string): protobuf.IParserResult {
    const parser = protobuf.parse as typeof protobuf.parse & { filename: string | null };
    parser.filename = name;
    try {
      return parser(source, this.#root, { keepCase: true });
    } catch (error) {
      throw new UsageError(`${name} cannot be parsed: ${(error as Error).message}`);
    } finally {
      parser.filename = null;
    }
  }
}

function placeholder(type: DescMessage | DescEnum): protobuf.ReflectionObject {
  if (type.kind === "enum") return new protobuf.Enum(type.name, { [type.values[0]?.name ?? "ZERO"]: 0 });
  const message = new protobuf.Type(type.name);
  for (const nested of [...type.nestedMessages, ...type.nestedEnums]) message.add(placeholder(nested));
  return message;
}
