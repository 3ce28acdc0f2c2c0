import { Buffer } from "node:buffer";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { UNIX_LIMIT } from "./address.js";

/** As long as the longest name that a socket gets in such a folder. */
const SOCKET = "nri.sock";

/**
 * Makes a folder of this user's for sockets, where temporary files are. TMPDIR may be so long that no socket's path would fit, as
 * in the folders of some build systems: then the folder is in /tmp.
 */
export function makeSocketFolder(prefix: string): string {
  const parent = resolve(tmpdir());
  const longest = join(parent, `${prefix}XXXXXX`, SOCKET);
  return mkdtempSync(join(Buffer.byteLength(longest) > UNIX_LIMIT ? "/tmp" : parent, prefix));
}
