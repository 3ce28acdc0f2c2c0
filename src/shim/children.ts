import { readlinkSync } from "node:fs";
import { clearTimeout, setTimeout } from "node:timers";
import { constants } from "node:os";
import { isMainThread } from "node:worker_threads";
import { currentMs } from "../clock.js";
import { loadNative } from "../native/addon.js";
import { kindOf } from "../value-kinds.js";
import { checked, sendSignal, startTime } from "./system.js";

const { ECHILD } = constants.errno;

/** How a process ended. */
export interface ChildExit {
  /** Its process id, which another process may have by now. */
  readonly pid: number;
  /**
   * The status as a shell reports it: the exit code, or 128 plus the signal number. 255 if the status is unknown, because
   * something else in this process, or a parent that the process still had, waited for it. 0 if Node started the process
   * and a real-time signal ended it, because Node does not report such signals.
   */
  readonly status: number;
  /** When this process noticed that it had ended. */
  readonly exitedAt: Date;
}

/** A process that the shim waits for, such as one that an OCI runtime has left to it. */
export interface AdoptedChild {
  /** Its process id. Once the process has ended, another may have it, so send signals with {@link kill}. */
  readonly pid: number;
  /** Resolves when it has ended; never rejects. Waiting does not keep Node running; the server does. */
  readonly exited: Promise<ChildExit>;
  /**
   * Sends a signal, by default SIGTERM, to this process and to no other. Returns false if the process has ended.
   * Throws the system's error if the signal is not permitted.
   */
  kill(signal?: NodeJS.Signals | number): boolean;
}

/** containerd's status for a process whose end nobody saw. */
const UNKNOWN = 255;

/** How long an ended orphan is kept for adoptions in progress, and how many ends are remembered beyond that. */
const KEEP_MS = 5000;
const NOTED_LIMIT = 4096;

/** How soon to ask again for ended processes if the system refused to tell. */
const RETRY_MS = 100;

/** When an ended process was first seen: the last adoption that had begun, and the time by two clocks. */
interface Seen {
  readonly adoption: number;
  readonly at: number;
  readonly exitedAt: Date;
}

/** An answer of the addon's `parentOf`. */
const THIS_THREAD = 1;
const OTHER_THREAD = 2;

/** An adopted process that has not been reaped. */
class Adopted implements AdoptedChild {
  readonly exited: Promise<ChildExit>;
  /** Until it is a child of this process, another process may reap it; this tells whether the pid is still its own. */
  startTime: string | undefined;
  #settle!: (exit: ChildExit) => void;
  #over = false;

  constructor(
    readonly pid: number,
    started: string | undefined,
  ) {
    this.startTime = started;
    this.exited = new Promise((resolve) => (this.#settle = resolve));
  }

  /** Whether the pid still belongs to this process. */
  get isThere(): boolean {
    if (this.#over) return false;
    return this.startTime === undefined
      ? parentOf(this.pid) === THIS_THREAD
      : this.startTime === startTime(this.pid);
  }

  kill(signal: NodeJS.Signals | number = "SIGTERM"): boolean {
    return this.isThere && sendSignal(this.pid, signal);
  }

  end(exit: ChildExit): void {
    this.#over = true;
    this.#settle(exit);
  }
}

/**
 * The processes that the shim inherits. It is a _child subreaper_: when an OCI runtime starts a process and exits, that
 * process becomes the shim's child. The shim reaps all of them when they end, and reports the end of adopted ones.
 *
 * Node's own children are left to Node: `spawn` and its relatives work as usual, on this thread and in workers. If a
 * native addon forks a child on the main thread and itself waits for it, announce the child with {@link leave}.
 */
export class Children {
  // What an ended child of the process is, and who may reap it:
  //
  // - Of another thread, which has started it. The kernel gives orphans to the main thread, so it is left to that one.
  // - Waited for by this thread's event loop. libuv has a handle for each of its children, from before `spawn` returns
  //   until it has reaped it itself. `spawnSync` does not return before it has done so.
  // - Announced with `leave`.
  // - Adopted. Its pid cannot come round, since only this class reaps it.
  // - Any other is an orphan. It may be what an adoption that is under way is about to name, so it is kept until all
  //   those have ended that began before it was seen: until then its pid cannot come round either. If they take long,
  //   only its end is noted; should its pid have come round when it is named, it names the process that has it then.
  readonly #adopted = new Map<number, Adopted>();
  /** The adoptions that are under way, the oldest first, and the number of the last one that began. */
  readonly #adoptions = new Set<number>();
  #lastAdoption = 0;
  /** Orphans that have ended and are kept. */
  #kept = new Map<number, Seen>();
  #nextLook: { readonly at: number; readonly timer: NodeJS.Timeout } | undefined;
  /** Whether the system refused to tell at the last look. */
  #refused = false;
  /** Those that were kept for as long as may be, with how they ended. */
  readonly #noted = new Map<number, Seen & ChildExit>();
  /** What was announced, with the time at which it started. */
  readonly #left = new Map<number, string>();

  /** @internal */
  constructor() {
    if (!isMainThread)
      throw new Error("children are adopted only on the main thread, to which the kernel gives orphans");
    if ("bun" in process.versions || "deno" in process.versions) {
      throw new Error("a shim needs Node.js: other runtimes do not tell which children are their own");
    }
    checkProc();
    checked("prctl", loadNative().becomeSubreaper());
    process.on("SIGCHLD", () => this.#look());
    this.#look();
  }

  /**
   * Adopts the process whose pid `start` resolves to, even if the process has ended by then. Either `start` must have
   * created the process, or it must still be running. Orphans that end meanwhile are kept until `start` has settled, for
   * at most 5 seconds.
   *
   * ```ts
   * const { pid, exited } = await children.adopt(async () => {
   *   await run("runc", ["create", "--bundle", bundle, "--pid-file", file, id]);
   *   return Number(await readFile(file, "utf8"));
   * });
   * ```
   *
   * Rejects with whatever `start` rejects with; with a TypeError if `start` is not a function, or resolves to something
   * that is not a pid, or to the pid of a child that Node started, whose end Node itself reports; and with an Error of
   * code `ESRCH` if there is no such process.
   */
  async adopt(start: () => Promise<number>): Promise<AdoptedChild> {
    if (typeof start !== "function") throw new TypeError(`start must be a function, not ${kindOf(start)}`);
    const adoption = ++this.#lastAdoption;
    this.#adoptions.add(adoption);
    try {
      return this.#take(await start());
    } finally {
      this.#adoptions.delete(adoption);
      this.#look();
    }
  }

  /**
   * Tells the shim not to reap a child that a native addon forked on this thread and itself waits for. Call it before
   * control returns to the event loop. Node's own children, and those of other threads, need no call.
   *
   * ```ts
   * const terminal = pty.spawn("sh", [], {});
   * children.leave(terminal.pid);
   * ```
   *
   * Throws a TypeError if `pid` is not a child of this process.
   */
  leave(pid: number): void {
    const started = isPid(pid) && parentOf(pid) !== 0 ? startTime(pid) : undefined;
    if (started === undefined)
      throw new TypeError(`${String(pid)} is not the pid of a child of this process`);
    this.#left.set(pid, started);
  }

  #take(pid: number): AdoptedChild {
    if (!isPid(pid)) throw new TypeError(`start must resolve to the pid of a process, not to ${String(pid)}`);
    const before = this.#adopted.get(pid);
    if (before?.isThere) return before;
    const parent = parentOf(pid);
    if (parent === OTHER_THREAD || ofLoop().has(pid)) {
      throw new TypeError(`process ${pid} was started by Node, which reports how it ends`);
    }
    const started = parent === THIS_THREAD ? undefined : startTime(pid);
    if (parent !== THIS_THREAD && started === undefined) {
      const noted = this.#noted.get(pid);
      if (noted !== undefined) return over(noted);
      throw Object.assign(new Error(`there is no process ${pid} to adopt`), { code: "ESRCH" });
    }
    if (before !== undefined) this.#end(before, unknownExit(pid));
    const adopted = new Adopted(pid, started);
    this.#adopted.set(pid, adopted);
    return adopted;
  }

  /**
   * Checks all ended children, and reaps those that nobody else waits for. What the system refuses, such as a descriptor when
   * none is left, must neither end the shim nor be taken for the end of a process: it is tried again.
   */
  #look(): void {
    try {
      this.#lookAtAll();
      this.#refused = false;
    } catch (error) {
      if (!this.#refused)
        process.emitWarning(`ended processes cannot be looked at: ${(error as Error).message}`);
      this.#refused = true;
      this.#lookAgainAt(currentMs() + RETRY_MS);
    }
  }

  #lookAtAll(): void {
    const { pids, errno } = loadNative().endedChildren();
    checked("waitid", errno);
    const ended = new Set(pids);
    for (const adopted of this.#adopted.values()) this.#lookAt(adopted);
    const others = ended.size === 0 ? ended : ofLoop();
    const [oldest = Infinity] = this.#adoptions;
    const now = currentMs();
    const kept = new Map<number, Seen>();
    for (const pid of ended) {
      if (others.has(pid) || this.#isLeft(pid)) continue;
      const adopted = this.#adopted.get(pid);
      const seen = this.#kept.get(pid) ?? {
        adoption: this.#lastAdoption,
        at: now,
        exitedAt: new Date(),
      };
      const mayBeNamed = adopted === undefined && oldest <= seen.adoption;
      if (mayBeNamed && now - seen.at < KEEP_MS) kept.set(pid, seen);
      else {
        const exit = { ...seen, pid, status: this.#reap(pid) };
        this.#end(adopted, exit);
        if (mayBeNamed) this.#note(exit);
      }
    }
    this.#kept = kept;
    if (kept.size > 0) this.#lookAgainAt(Math.min(...Array.from(kept.values(), ({ at }) => at)) + KEEP_MS);
    for (const [pid, { adoption }] of this.#noted) if (adoption < oldest) this.#noted.delete(pid);
    for (const pid of this.#left.keys()) if (parentOf(pid) === 0) this.#left.delete(pid);
  }

  /** Checks whether an adopted process has become a child of this one, or of another. */
  #lookAt(adopted: Adopted): void {
    const { pid } = adopted;
    if (!adopted.isThere) this.#end(adopted, unknownExit(pid));
    else if (parentOf(pid) === THIS_THREAD) adopted.startTime = undefined;
  }

  #isLeft(pid: number): boolean {
    const started = this.#left.get(pid);
    return started !== undefined && started === startTime(pid);
  }

  #reap(pid: number): number {
    const status = loadNative().reapChild(pid);
    // An addon that waits for any child may have been first.
    return status === -ECHILD ? UNKNOWN : checked("waitpid", status);
  }

  #end(adopted: Adopted | undefined, { pid, status, exitedAt }: ChildExit): void {
    this.#adopted.delete(pid);
    adopted?.end({ pid, status, exitedAt });
  }

  #note(noted: Seen & ChildExit): void {
    // After those remembered earlier.
    this.#noted.delete(noted.pid);
    this.#noted.set(noted.pid, noted);
    const [oldest = 0] = this.#noted.keys();
    if (this.#noted.size > NOTED_LIMIT) this.#noted.delete(oldest);
  }

  /** No signal arrives when an orphan has been kept for long enough. */
  #lookAgainAt(time: number): void {
    if (this.#nextLook !== undefined && this.#nextLook.at <= time) return;
    clearTimeout(this.#nextLook?.timer);
    const look = () => {
      this.#nextLook = undefined;
      this.#look();
    };
    this.#nextLook = { at: time, timer: setTimeout(look, Math.ceil(time - currentMs()) + 1).unref() };
  }
}

/**
 * Only /proc tells which children there are. Without it, or with that of another namespace, where they have other pids, the end
 * of an adopted process would never be seen.
 */
function checkProc(): void {
  let own: string;
  try {
    own = readlinkSync("/proc/self");
  } catch (cause) {
    throw new Error("children are adopted only where /proc is mounted", { cause });
  }
  if (own !== String(process.pid))
    throw new Error(`/proc is of another pid namespace: this process is ${own} there, not ${process.pid}`);
}

/** A process that was reaped before it was adopted. */
function over({ pid, status, exitedAt }: ChildExit): AdoptedChild {
  return { pid, exited: Promise.resolve({ pid, status, exitedAt }), kill: () => false };
}

function unknownExit(pid: number): ChildExit {
  return { pid, status: UNKNOWN, exitedAt: new Date() };
}

function isPid(pid: unknown): pid is number {
  return Number.isInteger(pid) && Number(pid) > 0 && Number(pid) < 2 ** 31 && pid !== process.pid;
}

function parentOf(pid: number): number {
  return checked("waitid", loadNative().parentOf(pid));
}

/** The children that this thread's event loop waits for. */
function ofLoop(): Set<number> {
  return new Set(loadNative().childrenOfLoop());
}
