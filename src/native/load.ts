import { dirname, resolve, sep } from "node:path";
import { fileURLToPath, pathToFileURL, URL } from "node:url";
import type * as Native from "../../index.js";
import { isError, textOf } from "../value-kinds.js";
import { VERSION } from "../version.js";
import { missingOf } from "./cut-off.js";
import { ownFile } from "./running-file.js";
import { currentPlatform, type Platform, platformNames, PREBUILT } from "./platform.js";

const NAME = "containerd-shim-protos";
const OVERRIDE = "NAPI_RS_NATIVE_LIBRARY_PATH";

/** Turns a path into a file URL; returns a file URL unchanged. */
const urlOf = (file: string) => (file.startsWith("file:") ? file : pathToFileURL(file).href);

/** The addon is looked for next to this file: this module, or the bundle that contains it. */
const HERE = urlOf(ownFile() ?? (import.meta.url as string | undefined) ?? process.argv[1] ?? resolve("x"));

// With an import of it, bundlers would try to resolve the required files, or replace this require with their own.
const { createRequire } = process.getBuiltinModule("node:module");
const require = createRequire(HERE);

/**
 * This code in the package or in a clone, which may have an addon beside its folders. A bundle may be anywhere, and
 * anybody may be able to write two folders above it, as in /tmp.
 */
const OWN_FILE = /\/(?:src\/native\/(?:load|running-file)\.ts|dist\/chunks\/core\.js)$/;

/** An addon to try. */
interface Candidate {
  /** A path or a package name. */
  readonly name: string;
  /** Finds it. */
  readonly require: NodeJS.Require;
  /** The folder from which it is looked for, if that is not the folder of this file. */
  readonly from?: string;
}

/** One that was tried and failed. */
interface Attempt {
  readonly candidate: Candidate;
  readonly error: unknown;
}

/**
 * Loads the addon. If NAPI_RS_NATIVE_LIBRARY_PATH is set, only the addon that it names is tried. Otherwise a packed shim
 * loads the one in its own file, and any other program the one in the platform's package, as this file finds it, and then
 * as a package beside this file does. In a clone, the one built there comes first.
 *
 * Throws an Error with code `ERR_NATIVE_ADDON` if none can be loaded. Its message says what was tried and what to do,
 * and its `cause` is the error of the last attempt.
 */
export function loadAddon(): typeof Native {
  const packed = packedAddon();
  if (packed !== undefined && !process.env[OVERRIDE]) return openPacked(packed);
  const platform = currentPlatform();
  const attempts: Attempt[] = [];
  for (const candidate of candidates(platformNames(platform))) {
    try {
      return requireAddon(candidate);
    } catch (error) {
      attempts.push({ candidate, error });
    }
  }
  const error = new Error(describeFailure(platform, attempts), { cause: attempts.at(-1)?.error });
  throw Object.assign(error, { code: ERR_NATIVE_ADDON });
}

/** The code of the error if no addon can be loaded. */
const ERR_NATIVE_ADDON = "ERR_NATIVE_ADDON";

/** Whether an error says that no addon can be loaded. */
export function lacksAddon(error: unknown): error is Error {
  return isError(error) && (error as NodeJS.ErrnoException).code === ERR_NATIVE_ADDON;
}

/** The path of the addon that this package would load, without loading it. Throws if there is none. */
export function addonFile(): string {
  const platform = currentPlatform();
  const attempts: Attempt[] = [];
  for (const candidate of candidates(platformNames(platform))) {
    try {
      return candidate.require.resolve(candidate.name);
    } catch (error) {
      attempts.push({ candidate, error });
    }
  }
  throw new Error(describeFailure(platform, attempts));
}

/** The environment data that names the file of a packed shim, as `crate/launcher/stub.js` sets it; workers have it too. */
export const PACKED = "containerd-shim-protos.addon";

/** The addon of a packed shim. */
export interface PackedAddon {
  /** The shim's file, which is an addon as well as a program. */
  readonly file: string;
  /** Whether the launcher keeps huge pages from the process until the addon is loaded. */
  readonly smallPages: boolean;
  /** The soft limit of open files with which the shim was started, if Node has raised it. */
  readonly openFiles: number | null;
}

/** The addon of a packed shim; undefined in any other program. */
export function packedAddon(): PackedAddon | undefined {
  const packed = process.getBuiltinModule("node:worker_threads").getEnvironmentData(PACKED);
  return packed as PackedAddon | undefined;
}

function openPacked({ file, smallPages, openFiles }: PackedAddon): typeof Native {
  const module: { exports: unknown } = { exports: {} };
  // Its name does not end as require would have it.
  process.dlopen(module, file);
  const addon = checkVersion(module.exports as typeof Native);
  if (smallPages) {
    // Both would be inherited by the processes that the shim starts.
    addon.allowHugePages();
    delete process.env["MIMALLOC_ALLOW_THP"];
  }
  if (openFiles !== null) addon.limitOpenFilesOfChildren(openFiles);
  return addon;
}

function* candidates(names: readonly string[]): Generator<Candidate> {
  const override = process.env[OVERRIDE];
  if (override) {
    yield { name: resolve(override), require };
    return;
  }
  for (const name of names) {
    if (OWN_FILE.test(HERE)) {
      yield { name: fileURLToPath(new URL(`../../${NAME}.${name}.node`, HERE)), require };
    }
    yield { name: `${NAME}-${name}`, require };
  }
  const from = installedBeside();
  if (from === undefined) return;
  const asInstalled = createRequire(`${from}${sep}package.json`);
  for (const name of names) yield { name: `${NAME}-${name}`, require: asInstalled, from };
}

/**
 * The folder of the package that is installed where a bundle with this file finds it; undefined if there is none, or if
 * this file is part of it. pnpm, and yarn without node_modules, show the platform's package only to the one that names it.
 */
function installedBeside(): string | undefined {
  try {
    const folder = dirname(require.resolve(`${NAME}/package.json`));
    return fileURLToPath(HERE).startsWith(`${folder}${sep}`) ? undefined : folder;
  } catch {
    return undefined;
  }
}

/** The platforms whose packages are installed where this one's would be, but not for this one. */
function installedForOthers(names: readonly string[]): readonly string[] {
  const from = installedBeside();
  const lookups = from === undefined ? [require] : [require, createRequire(`${from}${sep}package.json`)];
  const isInstalled = (name: string) => lookups.some((each) => finds(each, `${NAME}-${name}/package.json`));
  return PREBUILT.filter((name) => !names.includes(name) && isInstalled(name));
}

function finds(lookup: NodeJS.Require, name: string): boolean {
  try {
    lookup.resolve(name);
    return true;
  } catch {
    return false;
  }
}

/** Loads an addon and checks that it has the same version, because both sides share one record format. */
function requireAddon(candidate: Candidate): typeof Native {
  const file = candidate.require.resolve(candidate.name);
  const missing = missingOf(file);
  if (missing !== undefined) throw new Error(`${file}: ${missing}`);
  return checkVersion(candidate.require(file) as typeof Native);
}

/** The error of an addon of another version. */
class OtherVersion extends Error {}

function checkVersion(addon: typeof Native): typeof Native {
  if (typeof (addon as Partial<typeof Native>).versions !== "function") {
    throw new Error(`it is not an addon of ${NAME}`);
  }
  const { addon: version } = addon.versions();
  if (version !== VERSION) {
    throw new OtherVersion(`its version is ${version}, but ${NAME} is ${VERSION}: both must be the same`);
  }
  return addon;
}

/** The error codes of Node's permission model: addons are not allowed, or the file may not be read. */
const DENIALS: ReadonlySet<string> = new Set(["ERR_DLOPEN_DISABLED", "ERR_ACCESS_DENIED"]);

const codeOf = (error: unknown) => String((error as { code?: unknown } | undefined)?.code);

function describeFailure(platform: Platform, attempts: readonly Attempt[]): string {
  const { os, arch, libc } = platform;
  const system = `platform ${os}, architecture ${arch}${libc === undefined ? "" : `, libc ${libc}`}`;
  return [
    `${NAME} ${VERSION} could not load its native addon on ${system}.`,
    ["Tried:", ...attempts.map(tried)].join("\n"),
    ...advice(platformNames(platform), attempts),
  ].join("\n\n");
}

function tried({ candidate: { name, from }, error }: Attempt): string {
  // Node lists who required it, which is this file.
  const [summary = ""] = textOf(error).split("\nRequire stack:");
  const reason =
    summary === `Cannot find module '${name}'` ? "not found" : summary.replaceAll("\n", "\n    ");
  return `  ${name}${from === undefined ? "" : `, from ${from}`}: ${reason}`;
}

function advice(names: readonly [string, ...string[]], attempts: readonly Attempt[]): readonly string[] {
  if (attempts.some(({ error }) => DENIALS.has(codeOf(error)))) {
    if ((process as { permission?: unknown }).permission === undefined)
      return ["Node was started with --no-addons, which NODE_OPTIONS may have, too. It must be left out."];
    return [
      [
        "Node's permission model is on. It must allow addons, and reading the addon's file:",
        "  node --permission --allow-addons --allow-fs-read=/path/to/node_modules ...",
      ].join("\n"),
    ];
  }
  if (process.env[OVERRIDE]) {
    return [
      [
        `${OVERRIDE} names the one addon to load. Without it, the addon that npm installed is loaded.`,
        "Other packages whose addons are made with napi-rs read it, too.",
      ].join("\n"),
    ];
  }
  // The system's loader knows addons by their paths: to a worker, too, it gives the one that the process has.
  const replaced = attempts.some(({ error }) => error instanceof OtherVersion)
    ? [
        "If the package was replaced while this process ran, the process still has the addon of before: start it again.",
      ]
    : [];
  const source = [
    `To build the addon from source, with Rust and a C compiler, run \`npm ci\` in a clone of ${NAME} ${VERSION}, then set`,
    `  ${OVERRIDE}=/path/to/clone/${NAME}.${names[0]}.node`,
  ];
  return [...replaced, installation(names, attempts).join("\n"), source.join("\n")];
}

/** How to install the addon of a platform. */
function installation(
  names: readonly [string, ...string[]],
  attempts: readonly Attempt[],
): readonly string[] {
  const [name] = names;
  if (!PREBUILT.includes(name)) return [`There are prebuilt addons for ${PREBUILT.join(", ")}.`];
  const isMissing = attempts.every(({ error }) => codeOf(error) === "MODULE_NOT_FOUND");
  const others = isMissing ? installedForOthers(names) : [];
  if (others.length > 0) {
    const [os = "", cpu = "", libc = ""] = name.split("-");
    return [
      `What is installed is for ${others.join(", ")}, so node_modules comes from another image or machine.`,
      "Install the package where the program runs, or for its platform:",
      `  npm install --os=${os} --cpu=${cpu} --libc=${libc === "gnu" ? "glibc" : libc}`,
    ];
  }
  return [
    `npm installs ${NAME}-${name} with the package, unless it was told to omit optional dependencies, or has the bug that`,
    "leaves them out when a lock file comes from another platform (https://github.com/npm/cli/issues/4828). To fix it:",
    "  rm -rf node_modules package-lock.json && npm install",
  ];
}
