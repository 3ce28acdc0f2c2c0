import { constants } from "node:os";
import { loadNative } from "../native.js";
import { checked } from "./system.js";

const { ECHILD, EAGAIN } = constants.errno;

/** How a process ended. */
export interface ChildExit {
  /** Its process id, which may be another's by now. */
  readonly pid: number;
  /** As a shell tells it: the exit code, or 128 and the number of the signal. */
  readonly status: number;
  /** When it was found to have ended. */
  readonly exitedAt: Date;
}

/** A process that the shim waits for although it did not start it. */
export interface AdoptedChild {
  /** Its process id. */
  readonly pid: number;
  /** Resolves when it has ended; never rejects. To wait for it does not keep Node running, as the server does. */
  readonly exited: Promise<ChildExit>;
}

/**
 * The processes that fall to the shim: it is a _child subreaper_, so what an OCI runtime starts and leaves becomes the
 * shim's child. All of them are reaped when they end, and those that were adopted tell how.
 *
 * The children that Node itself has started are left to Node: `spawn` and its kin work as ever on this thread. (Those
 * of worker threads do not: their ends may be missed.)
 */
export class Children {
  readonly #adopted = new Map<number, (exit: ChildExit) => void>();
  /** What has ended since an adoption began, for each that goes on. */
  readonly #recording = new Set<Map<number, ChildExit>>();
  /** The ended child that nobody is known to wait for, and that was there at the signal before. */
  #candidate = 0;

  /** @internal */
  constructor() {
    checked("prctl", loadNative().becomeSubreaper());
    process.on("SIGCHLD", () => this.#reap());
    this.#reap();
  }

  /**
   * Adopts the process whose pid `start` resolves to, even if it has ended by then.
   *
   * ```ts
   * const { pid, exited } = await children.adopt(async () => {
   *   await run("runc", ["create", "--bundle", bundle, "--pid-file", file, id]);
   *   return Number(await readFile(file, "utf8"));
   * });
   * ```
   *
   * Rejects with whatever `start` rejects with.
   */
  async adopt(start: () => Promise<number>): Promise<AdoptedChild> {
    const ended = new Map<number, ChildExit>();
    this.#recording.add(ended);
    try {
      const pid = await start();
      const exit = ended.get(pid);
      const exited =
        exit === undefined
          ? new Promise<ChildExit>((resolve) => this.#adopted.set(pid, resolve))
          : Promise.resolve(exit);
      return { pid, exited };
    } finally {
      this.#recording.delete(ended);
    }
  }

  /**
   * Reaps what is not Node's. libuv keeps to itself which children it waits for, but at each SIGCHLD it reaps all of
   * them that have ended. So a child that is still there at the next SIGCHLD is nobody's; and there is a next one,
   * because one is raised.
   */
  #reap(): void {
    const native = loadNative();
    for (;;) {
      const pid = checked("waitid", native.peekChild());
      if (pid !== 0 && pid !== this.#candidate && !this.#adopted.has(pid)) {
        this.#candidate = pid;
        process.kill(process.pid, "SIGCHLD");
        return;
      }
      this.#candidate = 0;
      if (pid === 0) return;
      const status = native.reapChild(pid);
      // Between the two calls nothing of this thread runs, but a worker's libuv may have been first.
      if (status === -ECHILD || status === -EAGAIN) continue;
      this.#ended({ pid, status: checked("waitpid", status), exitedAt: new Date() });
    }
  }

  #ended(exit: ChildExit): void {
    const settle = this.#adopted.get(exit.pid);
    this.#adopted.delete(exit.pid);
    if (settle !== undefined) settle(exit);
    else for (const ended of this.#recording) ended.set(exit.pid, exit);
  }
}
