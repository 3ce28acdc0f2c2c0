import { closeSync } from "node:fs";
import { loadNative } from "../native/addon.js";
import { checked } from "./system.js";

/** Descriptors that are closed together, each once: a number that is closed twice may be another's the second time. */
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
    if (this.#open.includes(fd)) closeSync(this.release(fd));
  }

  closeAll(): void {
    for (const fd of this.#open.splice(0)) closeSync(fd);
  }
}

/**
 * A descriptor that the addon may own, in place of one that Node has opened, which is closed: Node closes the numbers that
 * a worker has opened once more when the worker ends, whoever has them by then.
 */
export function forAddon(opened: number): number {
  const copy = checked("duplicate a descriptor", loadNative().duplicateDescriptor(opened));
  closeSync(opened);
  return copy;
}
