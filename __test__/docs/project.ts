import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ROOT, temporaryFolder } from "../helpers/program.js";
import { temporaryPath } from "../helpers/temp.js";

const COMPILER_OPTIONS = {
  module: "nodenext",
  target: "es2022",
  lib: ["es2024", "esnext.disposable"],
  strict: true,
  noEmit: true,
  skipLibCheck: true,
  types: ["node"],
};

/** A project of a user: it has this package installed, and what else this repository has. */
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

/** Gives each path below /tmp and /run, such as sockets are at in examples, a place of its own: the same all through. */
export function withOwnPaths(): (code: string) => string {
  const places = new Map<string, string>();
  return (code) =>
    code.replaceAll(/\/(?:tmp|run)\/[\w./-]*\w/g, (path) => {
      const place = places.get(path) ?? temporaryPath(".sock");
      places.set(path, place);
      return place;
    });
}
