/**
 * Mounts root filesystems by system calls: those that containerd's snapshotters have prepared, and that a task's Create
 * request lists.
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
 * which waits for as long as a filesystem does not answer.
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

/** Options of {@link unmountAll}: what it does about mounts that are in use. */
export interface UnmountOptions {
  /** For how many milliseconds busy mounts are tried again, every 50 ms. Default 2 500. */
  readonly busyTimeoutMs?: number | undefined;
  /**
   * Whether mounts that are still busy after that are detached (`MNT_DETACH`). They disappear when the last process that
   * uses them has ended. Default false, as in containerd.
   */
  readonly detach?: boolean | undefined;
}

/**
 * Makes the given mounts in order, one on top of the other, inside an existing folder. The `target` of each mount is
 * looked up inside that folder: `..`, links and concurrent renames never lead out of it. If a mount fails, those that
 * this call has already made are undone.
 *
 * Options are those of fstab: flags (`ro`, `nosuid`, `noatime` …), `bind` and `rbind`, `remount`, propagation (`private`,
 * `shared`, `slave`, `unbindable`, or with an `r` in front for all mounts below, too), `loop` with `direct-io`, `uidmap`
 * and `gidmap` (`container:host:size`, with commas between ranges), and others, which go to the filesystem. If the paths
 * of an overlay's layers do not fit the one page that the kernel takes, they are made relative to the folder that all
 * layers are in. A type `fuse.NAME` or `fuse3.NAME` is mounted by the program `mount.fuse` or `mount.fuse3`, and only at
 * the folder itself.
 *
 * Rejects with a TypeError that names what is wrong about an argument, and otherwise with an Error that describes the
 * mount, with the system's `code`, such as `ENOENT`.
 *
 * @param mounts - containerd's `types.Mount` messages; fields that are left out are empty.
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
 * Unmounts everything that is mounted at a folder and below it, deepest first, even if the folder's path leads through
 * links. A folder that does not exist counts as having nothing mounted.
 *
 * Rejects with a TypeError that names what is wrong about an argument, and otherwise with an Error that names the mount
 * that is left, with the system's `code`, such as `EBUSY`.
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
 * Tests whether {@link mountAll} can map the ids of files in a folder, such as a snapshotter's: both in a bind mount and
 * in the layers of an overlay. This takes Linux 5.19, a filesystem that supports it, and privileges. The test makes its
 * mounts where no other process sees them.
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
