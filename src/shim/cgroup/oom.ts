import { clearInterval, setInterval } from "node:timers";
import { closeSync, type FSWatcher, openSync, watch } from "node:fs";
import { join } from "node:path";
import { loadNative } from "../../native/addon.js";
import { socketOf } from "../../native/socket.js";
import { closeDescriptor } from "../descriptors.js";
import { createPipe } from "../pipe.js";
import { Transfer } from "../pump.js";
import { checked } from "../system.js";
import { writeFile } from "../write-file.js";
import { CgroupFolder } from "./folder.js";

/** How many times the kernel's counter is read after an announcement, and how many milliseconds apart. */
const LOOKS = 20;
const LOOK_MS = 10;

/**
 * Reports the OOM kills of a cgroup. The kernel announces them, by an eventfd with cgroup v1 and by inotify with v2, and
 * counts them in a file. The count makes sure that each kill is reported once, and that kills of other cgroups are not
 * reported: with v1, cgroups below one that runs out of memory are notified as well. Made by `watchOom` of a cgroup.
 */
export class OomWatch {
  readonly #counts: () => ReadonlyMap<string, bigint>;
  readonly #onKill: () => void;
  #stop: () => void = () => undefined;
  #kills: ReadonlyMap<string, bigint>;
  #timer: NodeJS.Timeout | undefined;

  private constructor(counts: () => ReadonlyMap<string, bigint>, onKill: () => void) {
    this.#counts = counts;
    this.#onKill = onKill;
    this.#kills = counts();
  }

  /** @internal */
  static v1(memory: CgroupFolder, onKill: () => void): OomWatch {
    // The kernel counts a kill only where the process was.
    const oom = new OomWatch(() => killsBelow(memory), onKill);
    oom.#stop = announcements(memory.path, () => oom.#announced(memory));
    return oom;
  }

  /** @internal */
  static v2(memory: CgroupFolder, onKill: () => void): OomWatch {
    const oom = new OomWatch(() => new Map([["", killsIn(memory, "memory.events")]]), onKill);
    const watcher: FSWatcher = watch(join(memory.path, "memory.events"), { persistent: false }, () =>
      oom.#lookOnEvent(),
    );
    // The cgroup has been removed.
    watcher.on("error", () => watcher.close());
    oom.#stop = () => watcher.close();
    return oom;
  }

  /** Calls back at once if there was a kill that has not been reported. Call it before you report the exit of a process. */
  look(): void {
    const before = this.#kills;
    this.#kills = this.#counts();
    // A smaller count is that of another cgroup of the same name.
    const killed = [...this.#kills].some(([path, count]) => count > 0n && count !== (before.get(path) ?? 0n));
    if (killed) this.#onKill();
  }

  /** Stops watching. */
  close(): void {
    clearInterval(this.#timer);
    this.#stop();
    this.#stop = () => undefined;
  }

  /** With version 1 the kernel announces that memory has run out, then it kills, and then it counts. */
  #announced(memory: CgroupFolder): void {
    clearInterval(this.#timer);
    let left = LOOKS;
    let told = false;
    const look = () => {
      this.#lookOnEvent();
      if (!told && stalls(memory)) {
        told = true;
        this.#onKill();
      }
    };
    this.#timer = setInterval(() => {
      look();
      if (--left === 0) clearInterval(this.#timer);
    }, LOOK_MS);
    this.#timer.unref();
    look();
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

const killsIn = (memory: CgroupFolder, file: string) => memory.pairs(file)?.["oom_kill"] ?? 0n;

/** The kills of a cgroup of version 1 and of those below it, by their paths. */
function killsBelow(memory: CgroupFolder, kills = new Map<string, bigint>()): Map<string, bigint> {
  kills.set(memory.path, killsIn(memory, "memory.oom_control"));
  for (const name of memory.folders()) killsBelow(new CgroupFolder(join(memory.path, name)), kills);
  return kills;
}

/** Whether a cgroup of version 1 waits for memory because it has no OOM killer: then nothing is killed or counted. */
function stalls(memory: CgroupFolder): boolean {
  const { oom_kill_disable: disabled, under_oom: waits } = memory.pairs("memory.oom_control") ?? {};
  return disabled === 1n && waits === 1n;
}

/** Calls back whenever a cgroup of version 1 has run out of memory, or is removed. Returns what ends that. */
function announcements(folder: string, announced: () => void): () => void {
  const event = checked("eventfd", loadNative().createEventfd());
  const release = () => closeDescriptor(event);
  const control = orElse(() => openSync(join(folder, "memory.oom_control"), "r"), release);
  try {
    orElse(() => writeFile(join(folder, "cgroup.event_control"), `${event} ${control}`), release);
  } finally {
    closeSync(control);
  }
  // Node cannot watch an eventfd, so the pump reads it, into a pipe.
  const transfer = new Transfer(event, "OOM kills", { holds: false });
  const { reader, writer } = orElse(createPipe, () => transfer.stop());
  transfer.startTo(writer);
  const socket = socketOf(reader, { readable: true, writable: false });
  socket.on("data", announced).on("error", () => undefined);
  socket.unref();
  return () => {
    transfer.stop();
    socket.destroy();
  };
}

/** Returns what `work` does. If it throws, `release` is called first. */
function orElse<T>(work: () => T, release: () => void): T {
  try {
    return work();
  } catch (error) {
    release();
    throw error;
  }
}
