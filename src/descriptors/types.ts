import type { DescEnum, DescFile, DescMessage } from "@bufbuild/protobuf";

/** A file whose descriptors are made here. */
export interface OwnFile {
  readonly file: DescFile;
  /** Empty if it has none. */
  readonly packageName: string;
  /** The files of this kind that it imports. */
  readonly imports: readonly OwnFile[];
  /** What it defines, by full name. */
  readonly types: Map<string, DescMessage | DescEnum>;
  /** The messages that stand for the entries of maps, by full name. */
  readonly mapEntries: Map<string, DescMessage>;
}

const files = new WeakMap<DescFile, OwnFile>();

export function own(file: OwnFile): void {
  files.set(file.file, file);
}

/** What is known of a file; undefined if protobuf-es made its descriptor. */
export function ownFile(file: DescFile): OwnFile | undefined {
  return files.get(file);
}

/** The full name of what is defined in a message, or in the file. */
export function fullName({ packageName }: OwnFile, parent: DescMessage | undefined, name: string): string {
  if (parent !== undefined) return `${parent.typeName}.${name}`;
  return packageName === "" ? name : `${packageName}.${name}`;
}

/** The message with a full name, in a file or in those that it imports. */
export function messageNamed(file: OwnFile, name: string): DescMessage {
  const found = find(file, withoutDot(name));
  if (found?.kind !== "message") throw new Error(`${file.file.name} has no message ${name}`);
  return found;
}

/** The enum with a full name, in a file or in those that it imports. */
export function enumNamed(file: OwnFile, name: string): DescEnum {
  const found = find(file, withoutDot(name));
  if (found?.kind !== "enum") throw new Error(`${file.file.name} has no enum ${name}`);
  return found;
}

/** The message of the entries of a map; undefined if the name is not of one. */
export function mapEntryNamed({ mapEntries }: OwnFile, name: string): DescMessage | undefined {
  return mapEntries.get(withoutDot(name));
}

function find({ types, imports }: OwnFile, name: string): DescMessage | DescEnum | undefined {
  const found = types.get(name);
  if (found !== undefined) return found;
  for (const each of imports) {
    const there = find(each, name);
    if (there !== undefined) return there;
  }
  return undefined;
}

function withoutDot(name: string): string {
  return name.startsWith(".") ? name.slice(1) : name;
}
