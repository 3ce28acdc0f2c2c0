import { loadNative } from "../native/addon.js";
import { checked } from "./system.js";

/** The kernel's way to say "leave it as it is" of a user or group. */
export const UNCHANGED = 2 ** 32 - 1;

/** The two ends of a pipe, which the caller owns. */
export interface Pipe {
  readonly reader: number;
  readonly writer: number;
}

/** Creates a pipe, one of whose ends is given to a user and group. Throws the system's error. */
export function createPipe({ giveReader = false, uid = UNCHANGED, gid = UNCHANGED } = {}): Pipe {
  const { reader, writer, errno } = loadNative().createPipe(giveReader, uid, gid);
  checked("pipe", errno);
  return { reader, writer };
}
