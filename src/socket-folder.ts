import { Buffer } from "node:buffer";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { UNIX_LIMIT } from "./address.js";

/** As long as the longest name that a socket gets in such a folder. */
const SOCKET = "nri.sock";

/** Where the folder is made instead. */
const OTHERS = ["/tmp", "/run"];

/**
 * Makes a folder of this user's for sockets, where temporary files are, or in /tmp if no socket's path would fit there:
 * TMPDIR is long in some build systems. A process may outlive that place: a cleaner removes old files, and systemd
 * removes the private /tmp of a service that stops, while its shims go on. Then the folder is made in the next place.
 */
export function makeSocketFolder(prefix: string): string {
  let failure: unknown;
  for (const parent of [tmpdir(), ...OTHERS]) {
    try {
      // Without a working directory, a relative path is nowhere.
      const folder = join(resolve(parent), prefix);
      if (Buffer.byteLength(join(`${folder}XXXXXX`, SOCKET)) <= UNIX_LIMIT) return mkdtempSync(folder);
    } catch (error) {
      failure ??= error;
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") break;
    }
  }
  throw failure;
}
