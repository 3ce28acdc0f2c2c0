/**
 * Refuses import circles between the files of crate/. (The linter does so for TypeScript.) A module may use what its
 * parent modules define, as `impl Engine` in engine/flush.rs does, and name a type that it holds. Any other way back to a
 * file is a circle.
 */

import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { root, runMain, UserError } from "./toolchain.mjs";

const SOURCES = path.join(root, "crate");

await runMain(async () => {
  const files = await readdir(SOURCES, { recursive: true });
  const modules = new Map();
  for (const file of files.filter((name) => name.endsWith(".rs")).toSorted()) {
    const name = file
      .replace(/\.rs$/, "")
      .replace(/(^|\/)(mod|lib)$/, "")
      .split("/")
      .join("::");
    if (name.endsWith("tests")) continue;
    modules.set(name, { file, ...parse(await readFile(path.join(SOURCES, file), "utf8"), name) });
  }
  const edges = new Map([...modules].map(([name, module]) => [name, targets(name, module, modules)]));
  const circle = findCircle(edges);
  if (circle === undefined) return;
  const places = circle.map((name) => `  ${modules.get(name).file}`).join("\n");
  throw new UserError(`circles: these files of crate/ use each other:\n${places}`);
});

/** The paths that a file uses, from the crate's root, and the names that it re-exports. */
function parse(text, name) {
  const code = text
    .replace(/#\[cfg\(test\)\]\nmod tests \{[^]*$/, "")
    .replaceAll(/\/\/.*/g, "")
    .replaceAll(/"(?:[^"\\]|\\.)*"/g, '""');
  const exports = new Map();
  const uses = [];
  for (const [, isPublic, tree] of code.matchAll(/^\s*(pub(?:\([^)]*\))? )?use ([^;]+);/gm)) {
    for (const used of expand(tree.replaceAll(/\s+/g, ""))) {
      const absolute = resolve(used.replace(/as\w+$/, ""), name);
      if (isPublic !== undefined) exports.set(absolute.split("::").at(-1), absolute);
      else uses.push(absolute);
    }
  }
  const rest = code.replaceAll(/^\s*(?:pub(?:\([^)]*\))? )?use [^;]+;/gm, "");
  for (const [used] of rest.matchAll(/\b(?:crate|super)(?:::\w+)+/g)) uses.push(resolve(used, name));
  // A type that only appears in other types does not count.
  const isOnlyHeld = (used) => {
    const type = used.split("::").at(-1);
    return /^[A-Z]/.test(type) && !new RegExp(`\\b${type}(?:::|\\(| \\{)`).test(rest);
  };
  return { uses: uses.filter((used) => !isOnlyHeld(used)), exports };
}

/** The paths of a use tree: `a::{b, c::d}` is `a::b` and `a::c::d`. */
function expand(tree) {
  const open = tree.indexOf("{");
  if (open < 0) return [tree];
  const parts = [];
  let depth = 0;
  let part = "";
  for (const char of tree.slice(open + 1, tree.lastIndexOf("}"))) {
    if (char === "," && depth === 0) {
      parts.push(part);
      part = "";
      continue;
    }
    depth += char === "{" ? 1 : char === "}" ? -1 : 0;
    part += char;
  }
  parts.push(part);
  return parts.filter(Boolean).flatMap((each) => expand(tree.slice(0, open) + each));
}

/** A path without `crate::`, `self::` and `super::`. A path that begins with a child module's name is the child's. */
function resolve(used, name) {
  const parts = used.split("::");
  if (parts[0] === "crate") return parts.slice(1).join("::");
  const here = name === "" ? [] : name.split("::");
  if (parts[0] === "self") parts.shift();
  else if (parts[0] === "super") {
    while (parts[0] === "super") {
      parts.shift();
      here.pop();
    }
  }
  return [...here, ...parts].join("::");
}

/** The modules whose files define what a module uses. */
function targets(name, { uses }, modules) {
  const found = uses.map((used) => definer(used, modules)).filter((target) => target !== undefined);
  const isAround = (target) => target === "" || target === name || name.startsWith(`${target}::`);
  return [...new Set(found)].filter((target) => !isAround(target));
}

function definer(used, modules) {
  const parts = used.split("::");
  for (let length = parts.length; length > 0; length--) {
    const module = modules.get(parts.slice(0, length).join("::"));
    if (module === undefined) continue;
    const handedOn = module.exports.get(parts[length]);
    return handedOn === undefined ? parts.slice(0, length).join("::") : definer(handedOn, modules);
  }
  return undefined;
}

/** The first circle, as the names on it. */
function findCircle(edges) {
  const done = new Set();
  const trail = [];
  const visit = (name) => {
    if (trail.includes(name)) return trail.slice(trail.indexOf(name));
    if (done.has(name)) return undefined;
    trail.push(name);
    for (const target of edges.get(name) ?? []) {
      const circle = visit(target);
      if (circle !== undefined) return circle;
    }
    trail.pop();
    done.add(name);
    return undefined;
  };
  for (const name of edges.keys()) {
    const circle = visit(name);
    if (circle !== undefined) return circle;
  }
  return undefined;
}
