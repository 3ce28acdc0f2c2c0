import { Socket } from "node:net";
import { loadNative } from "./addon.js";

/** Which ends a socket has. */
interface Ends {
  readonly readable: boolean;
  readonly writable: boolean;
}

/** Node's socket of a descriptor that the addon has opened, which Node owns and closes from now on. */
export function socketOf(fd: number, ends: Ends): Socket {
  loadNative().giveUpDescriptor(fd);
  return new Socket({ fd, ...ends });
}
