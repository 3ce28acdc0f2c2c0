import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { type Timestamp, timestampFromDate, TimestampSchema } from "@bufbuild/protobuf/wkt";
import type { AdoptedChild, ChildExit, Children } from "containerd-shim-protos/shim";
import { type Console, listenConsole, openStdio, type Stdio } from "containerd-shim-protos/shim/io";
import { Status } from "containerd-shim-protos/task/v3";
import { readPid } from "./bundle.js";
import type { Launch } from "./runc.js";

/** The streams of a process, as containerd's requests name them. */
export interface ProcessIo {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

/** What of a terminal's output has not reached its reader is given up after this time. */
const DRAIN_MS = 10_000;
/** Go's zero time, by which containerd knows that something has not ended. */
const YEAR_ONE = create(TimestampSchema, { seconds: -62_135_596_800n });

/** A process of a container, its first or that of an exec, from the request for it to its Delete. */
export class ContainerProcess {
  readonly io: ProcessIo;
  readonly #pidFile: string;
  pid = 0;
  status = Status.CREATED;
  /** Resolves when the process has ended and that is known to all. */
  readonly waited: Promise<void>;
  #child: AdoptedChild | undefined;
  #exit: ChildExit | undefined;
  #release!: () => void;
  #stdio: Stdio | undefined;
  #console: Console | undefined;
  #stdinClosed = false;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(
    readonly id: string,
    { stdin, stdout, stderr, terminal }: ProcessIo,
    pidFile: string,
  ) {
    this.io = { stdin, stdout, stderr, terminal };
    this.#pidFile = pidFile;
    this.waited = new Promise((resolve) => (this.#release = resolve));
  }

  /** Does one thing at a time with this process, in the order in which they were asked for. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  /** Has runc make the process, and adopts it. */
  async launch(children: Children, run: (launch: Launch) => Promise<void>): Promise<AdoptedChild> {
    const child = await children.adopt(async () => {
      await (this.io.terminal ? this.#withTerminal(run) : this.#withStreams(run));
      return readPid(this.#pidFile);
    });
    this.#child = child;
    this.pid = child.pid;
    return child;
  }

  /** Sends a signal. Returns whether it was there to get it. */
  kill(signal: number): boolean {
    return this.#child?.kill(signal) ?? false;
  }

  async #withTerminal(run: (launch: Launch) => Promise<void>): Promise<void> {
    using socket = listenConsole();
    await run({ stdio: ["ignore", "ignore", "ignore"], consoleSocket: socket.path, pidFile: this.#pidFile });
    this.#console = socket.receive();
    this.#console.connect(this.io);
    if (this.#stdinClosed) this.#console.closeStdin();
  }

  async #withStreams(run: (launch: Launch) => Promise<void>): Promise<void> {
    const stdio = openStdio(this.io);
    this.#stdio = stdio;
    if (this.#stdinClosed) stdio.closeStdin();
    try {
      await run({ stdio: stdio.descriptors, consoleSocket: undefined, pidFile: this.#pidFile });
    } catch (error) {
      stdio.close();
      throw error;
    } finally {
      stdio.handedOver();
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

  /** Notes that the process has ended; those that wait are told. */
  ended(exit: ChildExit): void {
    this.#exit = exit;
    this.status = Status.STOPPED;
    // Its own descriptors are closed with it, so what reads its output is at the end.
    this.#stdio?.close();
    this.#release();
  }

  /** Notes that the process could not be made: nobody has to wait any more. */
  failed(): void {
    this.#release();
  }

  /** Waits until a terminal's output has been read, and closes it. */
  async closeIo(): Promise<void> {
    this.#stdio?.close();
    if (this.#console === undefined) return;
    const timer = new AbortController();
    const late = sleep(DRAIN_MS, undefined, { signal: timer.signal }).catch(() => undefined);
    await Promise.race([this.#console.drained, late]);
    timer.abort();
    this.#console.close();
  }

  /** As replies and events tell it. */
  get exit(): { exitStatus: number; exitedAt: Timestamp } {
    if (this.#exit === undefined) return { exitStatus: 0, exitedAt: YEAR_ONE };
    return { exitStatus: this.#exit.status, exitedAt: timestampFromDate(this.#exit.exitedAt) };
  }
}
