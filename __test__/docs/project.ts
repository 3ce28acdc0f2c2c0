import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ROOT, temporaryFolder } from "../helpers/program.js";
import { temporaryPath } from "../helpers/temp.js";

const COMPILER_OPTIONS = {
  module: "nodenext",
  target: "es2022",
  lib: ["es2024", "esnext.disposable"],
  // What `tsc --init` sets.
  strict: true,
  sourceMap: true,
  declaration: true,
  declarationMap: true,
  noUncheckedIndexedAccess: true,
  exactOptionalPropertyTypes: true,
  jsx: "react-jsx",
  verbatimModuleSyntax: true,
  isolatedModules: true,
  noUncheckedSideEffectImports: true,
  moduleDetection: "force",
  noEmit: true,
  skipLibCheck: true,
  types: [],
};

/** A user's project, which has this package and the other packages of this repository installed. */
export function userProject(files: Readonly<Record<string, string>>): string {
  const folder = temporaryFolder();
  const modules = join(folder, "node_modules");
  mkdirSync(modules);
  for (const name of readdirSync(join(ROOT, "node_modules"))) {
    symlinkSync(join(ROOT, "node_modules", name), join(modules, name));
  }
  symlinkSync(ROOT, join(modules, "containerd-shim-protos"));
  const all = {
    ...files,
    "package.json": JSON.stringify({ type: "module" }),
    "tsconfig.json": JSON.stringify({ compilerOptions: COMPILER_OPTIONS }),
  };
  for (const [name, text] of Object.entries(all)) {
    const file = join(folder, name);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
  return folder;
}

/** Replaces each path below /tmp and /run, such as those of sockets in examples, with a temporary one, always the same. */
export function withOwnPaths(): (code: string) => string {
  const places = new Map<string, string>();
  return (code) =>
    code.replaceAll(/\/(?:tmp|run)\/[\w./-]*\w/g, (path) => {
      const place = places.get(path) ?? temporaryPath(".sock");
      places.set(path, place);
      return place;
    });
}
