import { readFileSync } from "node:fs";
import path from "node:path";
import type { DescEnum, DescMessage, Registry } from "@bufbuild/protobuf";
import protobuf from "protobufjs";
import { UsageError } from "../exit.js";
import { registryOfFiles, WELL_KNOWN_FILES } from "./files.js";
import { descriptorOf, type SourceFile } from "./descriptor.js";

/**
 * The types of .proto files and of all that they import. A file is looked for in the import paths and as it stands, and
 * protobuf's own files are always there.
 */
export function registryOfProtos(files: readonly string[], importPaths: readonly string[]): Registry {
  const loader = new Loader(importPaths);
  for (const file of files) loader.load(file, undefined, [path.dirname(file), "."]);
  const sources = loader.finish();
  return registryOfFiles(sources.map(descriptorOf), files.join(", "));
}

/** Parses files into one tree of types, which knows which file each of them is from. */
class Loader {
  readonly #root = new protobuf.Root();
  readonly #sources = new Map<string, SourceFile>();
  readonly #importPaths: readonly string[];
  /** The folders of the files that were named, for imports between files of one folder. */
  readonly #folders = new Set<string>();

  constructor(importPaths: readonly string[]) {
    this.#importPaths = importPaths;
  }

  load(name: string, importer: string | undefined, folders: readonly string[] = []): void {
    if (this.#sources.has(name)) return;
    const wellKnown = WELL_KNOWN_FILES.get(name);
    if (wellKnown !== undefined) {
      const namespace = this.#root.define("google.protobuf");
      // Only the names are needed, to resolve references.
      for (const type of [...wellKnown.messages, ...wellKnown.enums]) namespace.add(placeholder(type));
      this.#sources.set(name, { name, dependencies: [], types: [], wellKnown: true });
      return;
    }
    if (importer === undefined) for (const folder of folders) this.#folders.add(folder);
    const source = this.#read(name, importer);
    const parsed = this.#parse(name, source);
    const dependencies = [...(parsed.imports ?? []), ...(parsed.weakImports ?? [])];
    const file: SourceFile = { name, package: parsed.package, dependencies, types: [], wellKnown: false };
    // Before its imports, so that a cycle ends here; which it is not allowed to be is found out later.
    this.#sources.set(name, file);
    for (const dependency of dependencies) this.load(dependency, name);
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

  #read(name: string, importer: string | undefined): string {
    const candidates =
      importer === undefined
        ? [name, ...this.#importPaths.map((folder) => path.join(folder, name))]
        : [...this.#importPaths, ...this.#folders].map((folder) => path.join(folder, name));
    for (const candidate of candidates) {
      try {
        return readFileSync(candidate, "utf8");
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") {
          throw new UsageError(`cannot read ${candidate}: ${(error as Error).message}`);
        }
      }
    }
    const who = importer === undefined ? "" : `${importer} imports ${name}: `;
    throw new UsageError(
      `${who}there is no ${candidates.join(" and no ")}`,
      importer === undefined ? undefined : "--import-path with the folder that imports start from",
    );
  }
}

function placeholder(type: DescMessage | DescEnum): protobuf.ReflectionObject {
  if (type.kind === "enum") return new protobuf.Enum(type.name, { [type.values[0]?.name ?? "ZERO"]: 0 });
  const message = new protobuf.Type(type.name);
  for (const nested of [...type.nestedMessages, ...type.nestedEnums]) message.add(placeholder(nested));
  return message;
}
