import { lstatSync, unlinkSync } from "node:fs";
import { constants } from "node:os";
import type { ParsedAddress } from "./address.js";
import { textOf } from "./error.js";
import { loadNative } from "./native.js";

const { ECONNREFUSED } = constants.errno;

/** The path of an address's socket file, if it has one. */
export function socketPath({ binding }: ParsedAddress): string | undefined {
  return binding?.kind === "unix" && binding.name?.[0] !== "\0" ? (binding.name ?? undefined) : undefined;
}

/**
 * Removes a socket file that nobody listens on any more. Returns whether it did: a file that is not a socket, or whose
 * socket is alive, stays.
 */
export function reclaimStale(address: ParsedAddress): boolean {
  const path = socketPath(address);
  if (path === undefined || address.binding === undefined || lstat(path)?.isSocket() !== true) return false;
  if (loadNative().probe(address.binding) !== ECONNREFUSED) return false;
  unlinkSync(path);
  return true;
}

/**
 * Remembers which file a path names now. Returns what removes it, if the path still names that file. One that cannot be
 * removed stays, for `reclaimStale` to find: it must not stop a server from closing.
 */
export function removerOf(path: string): () => void {
  const ours = lstat(path);
  return () => {
    try {
      const now = lstat(path);
      if (ours !== undefined && now?.ino === ours.ino && now.dev === ours.dev) unlinkSync(path);
    } catch (error) {
      process.emitWarning(`cannot remove ${path}: ${textOf(error)}`, { type: "TtrpcWarning" });
    }
  };
}

function lstat(path: string) {
  return lstatSync(path, { throwIfNoEntry: false });
}
