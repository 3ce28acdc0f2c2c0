import { basename } from "node:path";
import type { ParsedAddress } from "../address.js";
import { transportError } from "../error.js";
import { loadNative } from "../native/addon.js";

/** The path of the address's socket file, if it has one. */
export function socketPath({ binding }: ParsedAddress): string | undefined {
  return binding?.kind === "unix" && binding.name?.[0] !== "\0" ? (binding.name ?? undefined) : undefined;
}

/** Whether it is a unix socket without a file, so that no permission bits say who may connect. */
export function isAbstract(address: ParsedAddress): boolean {
  return address.binding?.kind === "unix" && socketPath(address) === undefined;
}

/**
 * Removes a socket file that nobody listens on any more. Returns whether the path is free: a file that is not a socket,
 * or whose socket listens or is about to, stays. Throws a TtrpcError with code `Unavailable` if a stale file cannot be
 * removed.
 */
export function reclaimStale(address: ParsedAddress): boolean {
  const path = socketPath(address);
  if (path === undefined) return false;
  const result = loadNative().removeStaleSocket(path);
  if (result >= 0) return result > 0;
  const lock = `.${basename(path)}.ttrpc-lock`;
  throw transportError(`cannot reclaim ${address.text} under the lock ${lock} beside it`, -result);
}

/**
 * Remembers the file of a listening socket. Returns a function that removes it once, if the path still names that file.
 * Call it while the socket is open, because until then no other file can get the same inode number. A file that cannot
 * be removed stays for `reclaimStale` to find; it must not stop a server from closing.
 *
 * The addon made the file, so it looks for it, too. Node's `fs` may be a test's, or be denied by the permission model.
 */
export function removerOf(path: string): () => void {
  let own = loadNative().identityOf(path);
  return () => {
    if (own === null) return;
    const result = loadNative().removeOwnSocket(path, own.device, own.inode);
    own = null;
    if (result >= 0) return;
    const error = transportError(`cannot remove ${path}`, -result);
    process.emitWarning(error.message, { type: "TtrpcWarning" });
  };
}
