import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { makeFolder } from "../../make-folder.js";
import { UsageError } from "../errors.js";
import { writing } from "../files.js";
import { print } from "../output/stdout.js";
import { text } from "../output/text.js";

declare const SHIMCTL_VERSION: string;
/** The versions of the packages that a new shim needs: those that this package is developed with. */
declare const TEMPLATE_VERSIONS: Readonly<Record<string, string>>;

/** The options of `shimctl new-shim`. */
export interface NewShimOptions {
  /** The part of the runtime's name between `io.containerd.` and `.v1`. */
  readonly name?: string;
}

/** The template's files, which lie beside the bundle, and their names in the new folder. */
const TEMPLATE = new URL("new-shim/", import.meta.url);
const RENAMED: Readonly<Record<string, string>> = { gitignore: ".gitignore" };

/** Writes a shim that `ctr run` takes into a folder, which must be empty or not exist. */
export async function newShim(folder: string, options: NewShimOptions): Promise<void> {
  const name =
    options.name ??
    path
      .basename(path.resolve(folder))
      .toLowerCase()
      .replaceAll(/[^a-z0-9]/g, "");
  if (!/^[a-z][a-z0-9]*$/.test(name)) {
    throw new UsageError(
      `${JSON.stringify(name)} cannot be part of a runtime's name`,
      "--name with letters and digits, such as mine for io.containerd.mine.v1",
    );
  }
  writing(folder, () => {
    prepare(folder);
    fill(folder, name);
  });
  await print([
    text`${folder} has a shim for the runtime io.containerd.${name}.v1. Next:`,
    text`  cd ${word(folder)} && npm install && npm run build && npm test`,
    text`  sudo ctr run --rm --runtime "$PWD/containerd-shim-${name}-v1" --rootfs / test echo hello`,
  ]);
}

/** A path as one word for a shell. */
function word(file: string): string {
  const safe = file.startsWith("-") ? `./${file}` : file;
  return /^[\w./-]+$/.test(safe) ? safe : `'${safe.replaceAll("'", String.raw`'\''`)}'`;
}

function prepare(folder: string): void {
  makeFolder(folder);
  const [first] = readdirSync(folder);
  if (first === undefined) return;
  throw new UsageError(`${folder} is not empty: it has ${first}`, "another folder, or empty this one");
}

function fill(folder: string, name: string): void {
  const named = (part: string) => part.replaceAll("__NAME__", name);
  for (const file of readdirSync(TEMPLATE)) {
    const content = readFileSync(fileURLToPath(new URL(file, TEMPLATE)), "utf8");
    writeFileSync(path.join(folder, RENAMED[file] ?? file), named(content), { mode: 0o644 });
  }
  writeFileSync(path.join(folder, "package.json"), `${JSON.stringify(manifestOf(name), undefined, 2)}\n`);
}

function manifestOf(name: string): object {
  const { "@bufbuild/protobuf": protobuf, ...tools } = TEMPLATE_VERSIONS;
  const program = `containerd-shim-${name}-v1`;
  return {
    name: `containerd-shim-${name}`,
    version: "0.1.0",
    private: true,
    type: "module",
    scripts: {
      build: `node build.mjs && shimctl pack build/shim.cjs --output ${program}`,
      test: "tsc && vitest run",
    },
    dependencies: { "@bufbuild/protobuf": protobuf, "containerd-shim-protos": `^${SHIMCTL_VERSION}` },
    devDependencies: tools,
  };
}
