import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { placeOf } from "./bundles.js";

/** A flag in /proc/net/unix: the socket accepts connections. */
const ACCEPTS = 0x10000;

/**
 * The places, as of `placeOf`, of the unix sockets on which processes listen. For a process that this one may not
 * inspect, there are none.
 */
export function listeningPlaces(pids: Iterable<number>): Set<string> {
  const places = new Set<string>();
  const byInode = listeners();
  for (const pid of new Set(pids)) {
    for (const inode of socketsOf(pid)) {
      const path = byInode.get(inode);
      if (path !== undefined) places.add(placeOf(path));
    }
  }
  return places;
}

/** The paths of all sockets that accept connections, by inode. */
function listeners(): Map<string, string> {
  const byInode = new Map<string, string>();
  for (const line of unlessGone("", () => readFileSync("/proc/net/unix", "utf8")).split("\n")) {
    // Num, RefCount, Protocol, Flags, Type, St, Inode, Path
    const [, , , flags = "", , , inode = "", ...path] = line.split(/ +/);
    if ((Number.parseInt(flags, 16) & ACCEPTS) !== 0) byInode.set(inode, path.join(" "));
  }
  return byInode;
}

/** The inodes of a process's sockets. */
function socketsOf(pid: number): string[] {
  const folder = `/proc/${pid}/fd`;
  return unlessGone<string[]>([], () => readdirSync(folder)).flatMap((fd) => {
    const target = unlessGone("", () => readlinkSync(`${folder}/${fd}`));
    return /^socket:\[(\d+)\]$/.exec(target)?.[1] ?? [];
  });
}

/** Reads from /proc, where a process may end or be hidden at any time; the result is `otherwise` then. */
function unlessGone<T>(otherwise: T, look: () => T): T {
  try {
    return look();
  } catch {
    return otherwise;
  }
}
