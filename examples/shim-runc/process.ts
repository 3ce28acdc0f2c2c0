import { rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import {
  type AdoptedChild,
  type ChildExit,
  type Children,
  timestampFromDate,
} from "containerd-shim-protos/shim";
import {
  type Console,
  listenConsole,
  openStdio,
  type Stdio,
  type StdioOptions,
} from "containerd-shim-protos/shim/io";
import { Status } from "containerd-shim-protos/task/v3";
import { readPid } from "./bundle.js";
import { failedPrecondition, notFound, unknown } from "./errors.js";
import type { Launch } from "./runc.js";

/** The streams of a process, as containerd's requests name them. */
export interface ProcessIo {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

/** How long Delete waits for output that has not reached its reader, as containerd's own shim does. */
const DRAIN_MS = 10_000;
/** Go's zero time, by which containerd knows that something has not ended. */
const YEAR_ONE = timestampFromDate(new Date("0001-01-01T00:00:00Z"));

/** A process of a container, its first or that of an exec, from the request for it to its Delete. */
export class ContainerProcess {
  readonly io: ProcessIo;
  readonly #pidFile: string;
  readonly #streams: StdioOptions;
  pid = 0;
  status = Status.CREATED;
  /** Those that wait for the process. Undefined once it has been released. */
  #waiting: Set<() => void> | undefined = new Set();
  #child: AdoptedChild | undefined;
  #exit: ChildExit | undefined;
  #stdio: Stdio | undefined;
  #console: Console | undefined;
  #stdinClosed = false;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(
    readonly id: string,
    { stdin, stdout, stderr, terminal }: ProcessIo,
    pidFile: string,
    streams: StdioOptions,
  ) {
    this.io = { stdin, stdout, stderr, terminal };
    this.#pidFile = pidFile;
    this.#streams = { ...streams, id };
  }

  /** Does one thing at a time with this process, in the order in which they were asked for. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  /** Has runc make the process, and adopts it. If that fails, no stream stays open. */
  async launch(children: Children, run: (launch: Launch) => Promise<void>): Promise<AdoptedChild> {
    try {
      const child = await children.adopt(() => this.#make(run));
      this.#child = child;
      this.pid = child.pid;
      return child;
    } catch (error) {
      this.#closeStreams();
      throw error;
    }
  }

  /** Has runc make the process. Resolves to its pid. */
  async #make(run: (launch: Launch) => Promise<void>): Promise<number> {
    // That of a process before, in the same bundle.
    rmSync(this.#pidFile, { force: true });
    try {
      await (this.io.terminal ? this.#withTerminal(run) : this.#withStreams(run));
      const pid = readPid(this.#pidFile);
      if (pid === 0) throw unknown(`failed to retrieve OCI runtime container pid: ${this.#pidFile} has none`);
      return pid;
    } catch (error) {
      // Perhaps there was no descriptor left to read the pid with.
      this.#closeStreams();
      this.#endUnheardOf();
      throw error;
    }
  }

  #closeStreams(): void {
    this.#stdio?.abandon();
    this.#console?.close();
  }

  /** Sends a signal. Returns false if the process has ended. */
  kill(signal: number): boolean {
    return this.#child?.kill(signal) ?? false;
  }

  async #withTerminal(run: (launch: Launch) => Promise<void>): Promise<void> {
    using socket = await listenConsole(this.io, this.#streams);
    await run({ stdio: ["ignore", "ignore", "ignore"], consoleSocket: socket.path, pidFile: this.#pidFile });
    this.#console = socket.receive();
    if (this.#stdinClosed) this.#console.closeStdin();
  }

  async #withStreams(run: (launch: Launch) => Promise<void>): Promise<void> {
    const stdio = await openStdio(this.io, this.#streams);
    try {
      await run({ stdio: stdio.descriptors, consoleSocket: undefined, pidFile: this.#pidFile });
    } catch (error) {
      stdio.abandon();
      throw error;
    }
    this.#stdio = stdio;
    stdio.handedOver();
    if (this.#stdinClosed) stdio.closeStdin();
  }

  /**
   * Ends a process that runc has made before it failed or was ended: nobody would hear of it. An adoption that is under way
   * keeps its pid from becoming another's.
   */
  #endUnheardOf(): void {
    try {
      const pid = readPid(this.#pidFile);
      if (pid > 0) process.kill(pid, "SIGKILL");
    } catch {
      // It has ended, or cannot be known. What failed before says more.
    }
  }

  resize(width: number, height: number): void {
    this.#console?.resize(width, height);
  }

  /** Lets stdin end. It may be asked for while the process is being made. */
  closeStdin(): void {
    this.#stdinClosed = true;
    this.#stdio?.closeStdin();
    this.#console?.closeStdin();
  }

  /** Waits until clients have read what the process has printed, but not for those that do not read. */
  async flush(): Promise<void> {
    await (this.#stdio ?? this.#console)?.flush();
  }

  /** Ends the output of a terminal whose process has ended, though others may still have it open. */
  closeTerminal(): void {
    this.#console?.close();
  }

  /** Notes that the process has ended. */
  ended(exit: ChildExit): void {
    this.#exit = exit;
    this.status = Status.STOPPED;
  }

  /**
   * Waits until the process has ended and its exit has been published, or until it is clear that it will never be started.
   * Rejects when nobody waits for the answer any more. Nothing is left of a wait that has been given up: clients ask again
   * and again, with short deadlines.
   */
  async wait(signal: AbortSignal): Promise<void> {
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    await new Promise<void>((resolve) => {
      const over = () => {
        signal.removeEventListener("abort", over);
        waiting.delete(over);
        resolve();
      };
      signal.addEventListener("abort", over);
      waiting.add(over);
      if (signal.aborted) over();
    });
    signal.throwIfAborted();
  }

  /** Lets those go on that wait for the process: its end has been published, or it will never be started. */
  release(): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    for (const over of waiting ?? []) over();
  }

  /** Waits until all output has been read, for 10 s at most, and closes the streams. */
  async closeIo(): Promise<void> {
    const io = this.#stdio ?? this.#console;
    if (io === undefined) return;
    const timer = new AbortController();
    const late = sleep(DRAIN_MS, undefined, { signal: timer.signal }).catch(() => undefined);
    // A logging program may wait to be asked.
    if (io.isLogged) io.close();
    await Promise.race([io.drained, late]);
    timer.abort();
    io.close();
  }

  /** As replies and events tell it. */
  get exit(): { exitStatus: number; exitedAt: Timestamp } {
    if (this.#exit === undefined) return { exitStatus: 0, exitedAt: YEAR_ONE };
    return { exitStatus: this.#exit.status, exitedAt: timestampFromDate(this.#exit.exitedAt) };
  }
}

/** Sends a signal to the process of an exec. Throws in containerd's words if there is none to send it to. */
export function killExec(process: ContainerProcess, signal: number): void {
  if (process.pid === 0) throw failedPrecondition("process not created");
  if (process.status === Status.STOPPED || !process.kill(signal)) throw notFound("process already finished");
}
