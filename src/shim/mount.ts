/**
 * Mounts for root filesystems, by the kernel's own calls: what containerd's snapshotters have prepared, as
 * a task's Create passes it on.
 *
 * ```ts
 * import { mountAll, unmountAll } from "containerd-shim-protos/shim/mount";
 *
 * await mountAll(request.rootfs, `${request.bundle}/rootfs`);
 * // … and when the container is deleted:
 * await unmountAll(`${request.bundle}/rootfs`);
 * ```
 *
 * A mount's options mean what they mean to containerd. Nothing here blocks JavaScript: each call has a thread of its own,
 * which waits as long as a filesystem does not answer.
 *
 * @module
 */

import { constants } from "node:os";
import { isAbsolute } from "node:path";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { loadNative } from "../native/addon.js";
import { checkedBoolean, checkedMs, checkOptions, LONGEST_TIMER_MS } from "../options.js";
import type { MountSchema } from "../protos/types.js";
import { isArray, isPlain, kindOf } from "../value-kinds.js";
import { checkedText } from "./checked-text.js";
import { errorName } from "./system.js";

/** As long as containerd tries. */
const BUSY_TIMEOUT_MS = 2500;

/** How much an error shows of a mount's options, in UTF-16 units: those of an overlay may fill a page. */
const LONGEST_SHOWN = 300;

/** What {@link unmountAll} does about mounts that are in use. */
export interface UnmountOptions {
  /** Milliseconds for which busy mounts are tried again, every 50 ms. Default 2 500. */
  readonly busyTimeoutMs?: number | undefined;
  /**
   * Whether mounts that are still busy then are detached (`MNT_DETACH`). They disappear when the last process that uses
   * them has ended. Default false, as in containerd.
   */
  readonly detach?: boolean | undefined;
}

/**
 * Makes mounts in their order, one on the other, inside a folder that exists. Each one's `target` is found inside that
 * folder: `..`, links, and what is renamed meanwhile never lead out of it. If one fails, those that this call
 * has made are taken back.
 *
 * Options are those of fstab: flags (`ro`, `nosuid`, `noatime` …), `bind` and `rbind`, `remount`, propagation
 * (`private`, `shared`, `slave`, `unbindable`, and with `r` before them with all below), `loop` with `direct-io`,
 * `uidmap` and `gidmap` (`container:host:size`, with commas between ranges), and others, which go to the filesystem. If
 * an overlay's layers do not fit the kernel's page of options, they are named from the folder that all are in. A type
 * `fuse.NAME` or `fuse3.NAME` is mounted by the program `mount.fuse` or `mount.fuse3`, and only at the folder itself.
 *
 * Rejects with a TypeError that names what is wrong about an argument, and otherwise with an Error that describes the
 * mount, with the system's `code`, such as `ENOENT`.
 *
 * @param mounts - containerd's `types.Mount` messages; what is left out of one is empty.
 * @param rootfs - The path of the folder.
 */
export async function mountAll(
  mounts: readonly MessageInitShape<typeof MountSchema>[],
  rootfs: string,
): Promise<void> {
  if (!isArray(mounts)) throw new TypeError(`mounts must be an array, not ${kindOf(mounts)}`);
  const wanted = Array.from(mounts, (mount: unknown, index) => checkedMount(mount, `mounts[${index}]`));
  const folder = absolute(checkedPath(rootfs, "rootfs"));
  const { errno, text, index } = await loadNative().mountAll(wanted, folder);
  const failed = wanted[index];
  if (errno === 0 || failed === undefined) return;
  const { kind, source, target, options } = failed;
  const what = [
    `type ${JSON.stringify(kind)}`,
    `source ${JSON.stringify(source)}`,
    `target ${JSON.stringify(target)} in ${JSON.stringify(folder)}`,
    `options ${cut(JSON.stringify(options.join(",")))}`,
  ];
  throw systemError("mount", errno, `mounts[${index}] (${what.join(", ")}): ${text}`);
}

/**
 * Unmounts everything that is mounted at a folder and below it, the deepest first, also if the folder's path leads
 * through links. A folder that does not exist has nothing mounted.
 *
 * Rejects with a TypeError that names what is wrong about an argument, and otherwise with an Error that names the mount
 * that stays, with the system's `code`, such as `EBUSY`.
 */
export async function unmountAll(folder: string, options?: UnmountOptions): Promise<void> {
  const path = absolute(checkedPath(folder, "folder"));
  checkOptions("unmountAll", options, ["busyTimeoutMs", "detach"]);
  const { busyTimeoutMs = BUSY_TIMEOUT_MS, detach = false } = options ?? {};
  checkedMs(busyTimeoutMs, "busyTimeoutMs", 0, LONGEST_TIMER_MS);
  checkedBoolean(detach, "detach");
  const { errno, text } = await loadNative().unmountAll(path, Math.ceil(busyTimeoutMs), detach);
  if (errno !== 0) throw systemError("umount", errno, `unmount of ${JSON.stringify(path)}: ${text}`);
}

/**
 * Whether {@link mountAll} can map the ids of files in a folder, such as that of a snapshotter: both of a bind and of an
 * overlay's layers. It takes Linux 5.19, a filesystem that can, and privileges. Tried out where nobody sees it.
 *
 * ```ts
 * if (!(await supportsIdMapping("/var/lib/containerd"))) console.warn("no user namespaces here");
 * ```
 *
 * Rejects with a TypeError that names what is wrong about the argument, and with an Error with the system's `code`, such as
 * `EMFILE`, if the process had no descriptors, threads or memory left to try it.
 */
export async function supportsIdMapping(folder: string): Promise<boolean> {
  const path = absolute(checkedPath(folder, "folder"));
  const { errno, text } = await loadNative().checkMappedIds(path);
  if (SHORTAGES.has(-errno)) {
    throw systemError("mount_setattr", errno, `whether ids are mapped in ${JSON.stringify(path)}: ${text}`);
  }
  return errno === 0;
}

const { EAGAIN, EMFILE, ENFILE, ENOMEM } = constants.errno;

/** Errors that say nothing of what the kernel and the filesystem can do. */
const SHORTAGES: ReadonlySet<number> = new Set([EAGAIN, EMFILE, ENFILE, ENOMEM]);

function checkedMount(mount: unknown, name: string) {
  if (!isPlain(mount)) throw new TypeError(`${name} must be an object, not ${kindOf(mount)}`);
  const { type = "", source = "", target = "", options = [] } = mount;
  if (!isArray(options)) throw new TypeError(`${name}.options must be an array, not ${kindOf(options)}`);
  return {
    kind: checkedText(type, `${name}.type`),
    source: checkedText(source, `${name}.source`),
    target: checkedText(target, `${name}.target`),
    options: Array.from(options, (option, index) => checkedText(option, `${name}.options[${index}]`)),
  };
}

function checkedPath(path: unknown, name: string): string {
  const text = checkedText(path, name);
  if (text === "") throw new TypeError(`${name} must be a path, not ""`);
  return text;
}

/** From the folder where the process is now. Nothing else is changed: after a link, ".." leads where the kernel says. */
function absolute(path: string): string {
  return isAbsolute(path) ? path : `${process.cwd()}/${path}`;
}

function cut(text: string): string {
  return text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}… (${text.length} in all)` : text;
}

function systemError(syscall: string, errno: number, text: string): Error {
  const code = errorName(errno);
  return Object.assign(new Error(`${code}: ${text}`), { code, errno, syscall });
}
