import { Socket } from "node:net";
import { textOf } from "../value-kinds.js";
import { loadNative } from "./addon.js";

/** Which ends a socket has. */
interface Ends {
  readonly readable: boolean;
  readonly writable: boolean;
}

/**
 * Node's socket of a descriptor that the addon has opened, which Node owns and closes from now on. Throws, with the
 * descriptor closed, if Node makes none: its permission model may deny sockets.
 */
export function socketOf(fd: number, ends: Ends): Socket {
  const addon = loadNative();
  let socket: Socket;
  try {
    socket = new Socket({ fd, ...ends });
  } catch (cause) {
    addon.closeDescriptor(fd);
    const error = new Error(`Node makes no socket of a descriptor: ${textOf(cause)}`, { cause });
    throw Object.assign(error, { code: (cause as NodeJS.ErrnoException | undefined)?.code });
  }
  addon.giveUpDescriptor(fd);
  return socket;
}
