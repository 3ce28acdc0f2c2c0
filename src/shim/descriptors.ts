import { constants } from "node:fs";
import { loadNative } from "../native/addon.js";
import { errorName } from "./system.js";

const { O_NONBLOCK } = constants;

/**
 * Closes a descriptor that the addon has opened. Node must not: in a worker it warns of numbers that it has not opened
 * itself, and those that it has opened it closes once more when the worker ends, whoever has them by then.
 */
export function closeDescriptor(fd: number): void {
  loadNative().closeDescriptor(fd);
}

/** Descriptors of the addon that are closed together, each once: a number closed twice may be another's the second time. */
export class Descriptors {
  #open: number[] = [];

  /** Notes a descriptor, and returns it. */
  add(fd: number): number {
    if (fd >= 0) this.#open.push(fd);
    return fd;
  }

  /** Gives up a descriptor that somebody else owns from now on. */
  release(fd: number): number {
    this.#open = this.#open.filter((one) => one !== fd);
    return fd;
  }

  /** Closes one, unless it was closed or released. */
  close(fd: number): void {
    if (this.#open.includes(fd)) closeDescriptor(this.release(fd));
  }

  closeAll(): void {
    for (const fd of this.#open.splice(0)) closeDescriptor(fd);
  }
}

/** What {@link openStream} has opened. */
interface OpenedStream {
  /** The caller's, to be closed by {@link closeDescriptor}. */
  readonly fd: number;
  readonly isFifo: boolean;
}

/**
 * Opens a stream with flags of open(2), which never waits for the other end of a fifo; with `parents`, makes the folders
 * that a file is in. A disk that does not answer holds up nothing but this call. Rejects with the system's error.
 */
export async function openStream(
  path: string,
  flags: number,
  { parents = false } = {},
): Promise<OpenedStream> {
  const { fd, isFifo, errno } = await loadNative().openStream(path, flags | O_NONBLOCK, parents);
  if (errno === 0) return { fd, isFifo };
  const code = errorName(errno);
  throw Object.assign(new Error(`${code}: open '${path}'`), { code, errno, syscall: "open", path });
}
