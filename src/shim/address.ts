import { createHash } from "node:crypto";
import { join } from "node:path";

const DEFAULT_FOLDER = "/run/containerd/s";

/** What a shim's socket is named after. */
export interface SocketName {
  /** containerd's gRPC socket: several daemons share the folder. */
  readonly address: string;
  readonly namespace: string;
  /** The container's id, or what the containers of this shim have in common. */
  readonly group: string;
  /** Where containerd wants it. */
  readonly folder?: string | undefined;
}

/** The address of a shim's socket: of a fixed length, since a path of a socket has 107 bytes at most. */
export function socketAddress({ address, namespace, group, folder = "" }: SocketName): string {
  const name = createHash("sha256")
    .update(join(address, namespace, group))
    .digest("hex");
  return `unix://${join(folder || DEFAULT_FOLDER, name)}`;
}
