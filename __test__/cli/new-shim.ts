import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { ROOT } from "../helpers/started.js";

/** Stands in for `npm install` in a new shim's folder: links the packages of this repository, the addon's included. */
export function linkPackages(folder: string): void {
  const modules = path.join(folder, "node_modules");
  mkdirSync(path.join(modules, "@bufbuild"), { recursive: true });
  mkdirSync(path.join(modules, "@types"));
  mkdirSync(path.join(modules, ".bin"));
  for (const name of ["@bufbuild/protobuf", "@types/node", "esbuild", "typescript", "vitest"]) {
    symlinkSync(path.join(ROOT, "node_modules", name), path.join(modules, name));
  }
  for (const name of ["tsc", "vitest"]) {
    symlinkSync(path.join(ROOT, "node_modules/.bin", name), path.join(modules, ".bin", name));
  }
  symlinkSync(ROOT, path.join(modules, "containerd-shim-protos"));
  symlinkSync(path.join(ROOT, "dist/cli/shimctl.js"), path.join(modules, ".bin/shimctl"));
  // The platform's package, which is built when a version is published.
  const addon = readdirSync(ROOT).find((file) => file.endsWith(".node")) ?? "";
  const name = addon.replace(/^containerd-shim-protos\./, "containerd-shim-protos-").replace(/\.node$/, "");
  mkdirSync(path.join(modules, name));
  writeFileSync(path.join(modules, name, "package.json"), JSON.stringify({ name, main: "addon.node" }));
  symlinkSync(path.join(ROOT, addon), path.join(modules, name, "addon.node"));
}
