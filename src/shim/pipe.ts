import { closeSync, constants, openSync, statSync } from "node:fs";
import { constants as system } from "node:os";
import { loadNative } from "../native/addon.js";
import { checked } from "./system.js";

/** The kernel's way to say "leave it as it is" of a user or group. */
export const UNCHANGED = 2 ** 32 - 1;

const SHORTAGES: ReadonlySet<number> = new Set([system.errno.EMFILE, system.errno.ENFILE]);

/** The two ends of a pipe, which the caller owns. */
export interface Pipe {
  readonly reader: number;
  readonly writer: number;
}

/** Creates a pipe, one of whose ends is given to a user and group. Throws the system's error. */
export function createPipe({ giveReader = false, uid = UNCHANGED, gid = UNCHANGED } = {}): Pipe {
  const { reader, writer, errno } = loadNative().createPipe(giveReader, uid, gid);
  const [user, group] = [idOf("user", uid), idOf("group", gid)];
  // Of the two calls, giving it away is the likelier to fail, unless there are no descriptors.
  const owner = SHORTAGES.has(-errno) ? "" : [user, group].filter(Boolean).join(" and ");
  checked(owner === "" ? "pipe" : `give a pipe to ${owner}`, errno);
  return { reader, writer };
}

const idOf = (kind: string, id: number) => (id === UNCHANGED ? "" : `${kind} ${id}`);

/** How many bytes are in the pipe that a path such as /proc/PID/fd/3 names; 0 if it names none. Throws the system's error. */
export function unreadIn(path: string): number {
  if (!statSync(path).isFIFO()) return 0;
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    return checked("FIONREAD", loadNative().unreadBytes(reader));
  } finally {
    closeSync(reader);
  }
}
