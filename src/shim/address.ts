import { join } from "node:path";
import { loadNative } from "../native/addon.js";

const DEFAULT_FOLDER = "/run/containerd/s";

/** What the name of a shim's socket is made from. */
export interface SocketName {
  /** containerd's gRPC socket, because several daemons share the folder. */
  readonly address: string;
  readonly namespace: string;
  /** The container's id, or the group that the containers of this shim share. */
  readonly group: string;
  /** The folder in which containerd expects shims' sockets. */
  readonly folder?: string | undefined;
}

/** The address of a shim's socket. Its length is fixed, because a socket's path has at most 107 bytes. */
export function socketAddress({ address, namespace, group, folder = "" }: SocketName): string {
  // The addon is there already, whereas `node:crypto` takes some milliseconds to load.
  const name = loadNative().sha256(join(address, namespace, group));
  return `unix://${join(folder || DEFAULT_FOLDER, name)}`;
}
