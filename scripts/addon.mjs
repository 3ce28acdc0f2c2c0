/** Checks what a prebuilt addon requires of the machine that loads it. */

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

import { GLIBC, MAX_BYTES, platforms } from "./platforms.mjs";
import { root, UserError } from "./toolchain.mjs";

const run = promisify(execFile);

/** The only symbols that an addon exports. */
const EXPORTS = ["napi_register_module_v1"];

/** Prints what each addon needs, and fails with a list of everything that is wrong. */
export async function checkAddons() {
  const problems = [];
  for (const platform of platforms) {
    const name = path.relative(root, platform.addon);
    if (!existsSync(platform.addon)) {
      problems.push(`${name} is missing: \`npm run build:prebuilds\` builds it`);
      continue;
    }
    const facts = await inspect(platform.addon);
    problems.push(...judge(facts, platform).map((problem) => `${name} ${problem}`));
    const glibc = facts.glibc === undefined ? "" : `, glibc ${facts.glibc}`;
    console.log(
      `${name}: ${(facts.bytes / 2 ** 20).toFixed(2)} MiB${glibc}, needs ${facts.needed.join(" ")}`,
    );
  }
  if (problems.length > 0) throw new UserError(problems.join("\n"));
}

/** Reads the facts about a shared library. */
async function inspect(file) {
  const [header, segments, dynamic, symbols, versions, sections] = await Promise.all(
    [
      "--file-header",
      "--program-headers",
      "--dynamic",
      "--dyn-syms",
      "--version-info",
      "--section-headers",
    ].map((part) => readelf([part, "--wide", file])),
  );
  return {
    bytes: (await stat(file)).size,
    machine: /Machine:.*?([\w-]+)$/m.exec(header)?.[1],
    entry: Number(/Entry point address:\s+(\S+)/.exec(header)?.[1]),
    loader: /Requesting program interpreter: ([^\]]+)\]/.exec(segments)?.[1],
    needed: matches(dynamic, /\(NEEDED\).*\[(.+)\]/g),
    exported: matches(symbols, /(?:GLOBAL|WEAK)\s+(?:DEFAULT|PROTECTED)\s+(?:\d+|ABS)\s+(\S+)/g),
    glibc: matches(versions, /\bGLIBC_([\d.]+)/g)
      .toSorted(byVersion)
      .at(-1),
    stripped: !/\s\.(?:symtab|debug_\w+)\s/.test(sections),
  };
}

function matches(text, pattern) {
  return [...text.matchAll(pattern)].map(([, found]) => found);
}

/** Lists what is wrong with an addon. */
function judge({ bytes, machine, entry, loader, needed, exported, glibc, stripped }, platform) {
  const foreign = needed.filter((library) => !platform.libraries.includes(library));
  return [
    bytes > MAX_BYTES && `has ${bytes} bytes, more than ${MAX_BYTES}`,
    machine !== platform.machine && `is for ${machine}, not ${platform.machine}`,
    !(entry > 0) && "has no entry point, so it is not a program",
    loader !== platform.loader && `is started by ${loader ?? "no loader"}, not ${platform.loader}`,
    foreign.length > 0 && `needs ${foreign.join(", ")}, which Node does not provide`,
    !needed.some((library) => library.startsWith("libc.so")) &&
      "needs no C library; is it linked statically?",
    exported.join() !== EXPORTS.join() && `exports ${exported.join(", ")}, not just ${EXPORTS.join(", ")}`,
    platform.abi === "gnu" && glibc === undefined && "needs no symbol of glibc",
    platform.abi === "musl" && glibc !== undefined && `needs symbols of glibc ${glibc}`,
    glibc !== undefined && byVersion(glibc, GLIBC) > 0 && `needs glibc ${glibc}, newer than ${GLIBC}`,
    !stripped && "is not stripped",
  ].filter((problem) => problem !== false);
}

function byVersion(left, right) {
  return left.localeCompare(right, "en", { numeric: true });
}

async function readelf(args) {
  try {
    return (await run("readelf", args, { maxBuffer: Infinity, env: { ...process.env, LC_ALL: "C" } })).stdout;
  } catch (error) {
    if (error.code === "ENOENT") throw new UserError("readelf was not found; it is part of binutils.");
    throw error;
  }
}
