import { closeSync, type FSWatcher, openSync, watch, writeFileSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import { loadNative } from "../../native/addon.js";
import { closeDescriptor } from "../descriptors.js";
import { createPipe } from "../pipe.js";
import { Transfer } from "../pump.js";
import { checked } from "../system.js";
import type { CgroupFolder } from "./folder.js";

/** How many times the kernel's counter is read after an announcement, and how many milliseconds apart. */
const LOOKS = 20;
const LOOK_MS = 10;

/**
 * Reports the OOM kills of a cgroup. The kernel announces them, by an eventfd with cgroup v1 and by inotify with v2, and
 * counts them in a file; the count makes sure that each is reported once. Made by `watchOom` of a cgroup.
 */
export class OomWatch {
  readonly #memory: CgroupFolder;
  readonly #file: string;
  readonly #onKill: () => void;
  #stop: () => void = () => undefined;
  #kills: bigint;
  #timer: NodeJS.Timeout | undefined;

  private constructor(memory: CgroupFolder, file: string, onKill: () => void) {
    this.#memory = memory;
    this.#file = file;
    this.#onKill = onKill;
    this.#kills = this.#count();
  }

  /** @internal */
  static v1(memory: CgroupFolder, onKill: () => void): OomWatch {
    const oom = new OomWatch(memory, "memory.oom_control", onKill);
    oom.#stop = announcements(memory.path, () => oom.#announced());
    return oom;
  }

  /** @internal */
  static v2(memory: CgroupFolder, onKill: () => void): OomWatch {
    const oom = new OomWatch(memory, "memory.events", onKill);
    const watcher: FSWatcher = watch(join(memory.path, "memory.events"), { persistent: false }, () =>
      oom.#lookOnEvent(),
    );
    // The cgroup has been removed.
    watcher.on("error", () => watcher.close());
    oom.#stop = () => watcher.close();
    return oom;
  }

  /** Calls back now if there was a kill that has not been reported: before the exit of a process is. */
  look(): void {
    const kills = this.#count();
    if (kills <= this.#kills) return;
    this.#kills = kills;
    this.#onKill();
  }

  /** Stops watching. */
  close(): void {
    clearInterval(this.#timer);
    this.#stop();
    this.#stop = () => undefined;
  }

  #count(): bigint {
    return this.#memory.pairs(this.#file)?.["oom_kill"] ?? 0n;
  }

  /** With version 1 the kernel announces that memory has run out, then it kills, and then it counts. */
  #announced(): void {
    clearInterval(this.#timer);
    let left = LOOKS;
    this.#timer = setInterval(() => {
      this.#lookOnEvent();
      if (--left === 0) clearInterval(this.#timer);
    }, LOOK_MS);
    this.#timer.unref();
    this.#lookOnEvent();
  }

  /** Nobody would catch what the system says, such as that there are no descriptors left; the next look may fare better. */
  #lookOnEvent(): void {
    try {
      this.look();
    } catch (error) {
      process.emitWarning(`OOM kills could not be counted: ${(error as Error).message}`);
    }
  }
}

/** Calls back whenever a cgroup of version 1 has run out of memory, or is removed. Returns what ends that. */
function announcements(folder: string, announced: () => void): () => void {
  const event = checked("eventfd", loadNative().createEventfd());
  const release = () => closeDescriptor(event);
  const control = orElse(() => openSync(join(folder, "memory.oom_control"), "r"), release);
  try {
    orElse(() => writeFileSync(join(folder, "cgroup.event_control"), `${event} ${control}`), release);
  } finally {
    closeSync(control);
  }
  // Node cannot watch an eventfd, so the pump reads it, into a pipe.
  const transfer = new Transfer(event, "OOM kills", { holds: false });
  const { reader, writer } = orElse(createPipe, () => transfer.stop());
  transfer.startTo(writer);
  const socket = new Socket({ fd: reader, readable: true, writable: false });
  socket.on("data", announced).on("error", () => undefined);
  socket.unref();
  return () => {
    transfer.stop();
    socket.destroy();
  };
}

/** What some work gives. If it throws, `release` is called first. */
function orElse<T>(work: () => T, release: () => void): T {
  try {
    return work();
  } catch (error) {
    release();
    throw error;
  }
}
