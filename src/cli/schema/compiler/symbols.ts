import type { DescriptorProto, EnumDescriptorProto, FileDescriptorProto } from "@bufbuild/protobuf/wkt";
import { qualified } from "./names.js";

/** The declaration that a name stands for. */
export interface Symbol {
  readonly kind: "package" | "message" | "enum" | "service" | "extension" | "other";
  /** The file that declares it. */
  readonly file: FileDescriptorProto;
  /** The descriptor of the declaration. */
  readonly declaration: object;
}

/** Called with each name that a file declares. */
type Declare = (name: string, kind: Symbol["kind"], declaration: object) => void;

/** The names in some files. Each file sees its own names, those of its imports, and those that these import publicly. */
export class Symbols {
  readonly #files = new Map<string, FileDescriptorProto>();
  readonly #byName = new Map<string, Symbol>();
  readonly #visible = new Map<FileDescriptorProto, ReadonlySet<FileDescriptorProto>>();

  /** Adds a file; `conflict` is called for each name that is declared twice. */
  add(
    file: FileDescriptorProto,
    conflict: (name: string, declaration: object, earlier: Symbol) => void,
  ): void {
    this.#files.set(file.name, file);
    declare(file, (name, kind, declaration) => {
      const earlier = this.#byName.get(name);
      if (earlier === undefined) this.#byName.set(name, { kind, file, declaration });
      else if (earlier.kind !== "package" || kind !== "package") conflict(name, declaration, earlier);
    });
  }

  /** The files whose names a file may use, itself included. */
  visibleTo(file: FileDescriptorProto): ReadonlySet<FileDescriptorProto> {
    let visible = this.#visible.get(file);
    if (visible === undefined) {
      const all = new Set([file]);
      const addPublic = (imported: FileDescriptorProto | undefined) => {
        if (imported === undefined || all.has(imported)) return;
        all.add(imported);
        for (const index of imported.publicDependency) {
          addPublic(this.#files.get(imported.dependency[index] ?? ""));
        }
      };
      for (const name of file.dependency) addPublic(this.#files.get(name));
      this.#visible.set(file, (visible = all));
    }
    return visible;
  }

  /**
   * Resolves a reference, from its scope outwards. As in C++, the innermost scope that declares the first part of a dotted
   * name decides: if the rest is not declared there, the name is unknown, whatever outer scopes declare.
   */
  find(
    reference: string,
    scope: string,
    file: FileDescriptorProto,
    wanted: (symbol: Symbol) => boolean,
    also: ReadonlySet<FileDescriptorProto> = new Set(),
  ): { readonly name: string; readonly symbol: Symbol } | undefined {
    const visible = this.visibleTo(file);
    const look = (name: string): Symbol | undefined => {
      const symbol = this.#byName.get(name);
      if (symbol === undefined || symbol.kind === "package") return symbol;
      return visible.has(symbol.file) || also.has(symbol.file) ? symbol : undefined;
    };
    if (reference.startsWith(".")) {
      const name = reference.slice(1);
      const symbol = look(name);
      return symbol === undefined ? undefined : { name, symbol };
    }
    const [first = "", ...rest] = reference.split(".");
    const scopes = scope === "" ? [] : scope.split(".");
    for (let depth = scopes.length; depth >= 0; depth--) {
      const around = scopes.slice(0, depth).join(".");
      const symbol = look(qualified(around, first));
      if (symbol === undefined) continue;
      if (rest.length === 0) {
        if (wanted(symbol)) return { name: qualified(around, first), symbol };
      } else if (symbol.kind !== "other" && symbol.kind !== "extension") {
        const name = qualified(around, reference);
        const found = look(name);
        return found === undefined ? undefined : { name, symbol: found };
      }
    }
    return undefined;
  }
}

function declare(file: FileDescriptorProto, add: Declare): void {
  const scope = file.package;
  const parts = scope === "" ? [] : scope.split(".");
  for (const index of parts.keys()) add(parts.slice(0, index + 1).join("."), "package", file);
  declareTypes(scope, file.messageType, file.enumType, add);
  for (const extension of file.extension) add(qualified(scope, extension.name), "extension", extension);
  for (const service of file.service) {
    const name = qualified(scope, service.name);
    add(name, "service", service);
    for (const method of service.method) add(qualified(name, method.name), "other", method);
  }
}

function declareTypes(
  scope: string,
  messages: readonly DescriptorProto[],
  enums: readonly EnumDescriptorProto[],
  add: Declare,
): void {
  for (const message of messages) {
    const name = qualified(scope, message.name);
    add(name, "message", message);
    for (const field of message.field) add(qualified(name, field.name), "other", field);
    for (const oneof of message.oneofDecl) add(qualified(name, oneof.name), "other", oneof);
    for (const extension of message.extension) add(qualified(name, extension.name), "extension", extension);
    declareTypes(name, message.nestedType, message.enumType, add);
  }
  for (const type of enums) {
    add(qualified(scope, type.name), "enum", type);
    // As in C++, the values of an enum are names in the scope around it.
    for (const value of type.value) add(qualified(scope, value.name), "other", value);
  }
}
