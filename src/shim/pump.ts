import { clearTimeout, setTimeout } from "node:timers";
import { loadNative, type NativePump, thrownErrno } from "../native/addon.js";
import { closeDescriptor } from "./descriptors.js";
import { checked } from "./system.js";

/** The pump of this environment, made for its first transfer. */
let pump: NativePump | undefined;

/** What hears of a transfer. */
interface Listener {
  flushed: (() => void)[];
  dropped(errno: number): void;
  ended(errno: number): void;
}

/** What hears of the transfers whose end has not been reported, by their numbers. */
const transfers = new Map<number, Listener>();

/** What is reported of a transfer that has been flushed, in place of an error's number. Errors that drop bytes are below it. */
const FLUSHED = -1;

/** How many of them keep the process alive. */
let held = 0;

/** Bytes that a thread of the addon moves from one descriptor to another, whatever JavaScript does meanwhile. */
export class Transfer {
  /**
   * Resolves once a started transfer has ended: to 0 if all that was read has been written, or to the number of the error
   * that ended the transfer or cost it bytes. ECANCELED if it was stopped. Both descriptors are closed then, but for those
   * of a file that was stopped while its disk did not answer: they are closed when it does. With a fifo that is open for
   * reading too, it also waits up to 250 ms until everything has been read.
   */
  readonly ended: Promise<number>;
  readonly #number: number;
  readonly #holds: boolean;
  readonly #tell: (errno: number) => void;
  readonly #dropped: (errno: number) => void;

  /**
   * Takes over one end of a transfer, also if it throws the system's error, and makes sure that there is a thread for it,
   * so that it can start later. `what` is for that error, such as EAGAIN if too many files are written at once. Once started,
   * it keeps the process alive until it has ended, unless it is told not to. `dropped` is called when bytes are lost for the
   * first time, with the number of the error.
   */
  constructor(
    end: number,
    what: string,
    { holds = true, dropped = (_errno: number): void => undefined } = {},
  ) {
    pump ??= newPump(end, what);
    this.#number = checked(`reserve a thread for ${what}`, pump.reserve(end));
    this.#holds = holds;
    this.#dropped = dropped;
    let tell!: (errno: number) => void;
    this.ended = new Promise((resolve) => (tell = resolve));
    this.#tell = tell;
  }

  /** Lets bytes flow from a descriptor to the end that is there. Takes it over, also if it throws the system's error. */
  startFrom(source: number): void {
    this.#start(source, true);
  }

  /** Lets bytes flow from the end that is there to a descriptor. Takes it over, also if it throws the system's error. */
  startTo(destination: number): void {
    this.#start(destination, false);
  }

  /** Ends as soon as nothing is left to read, though somebody could still write. */
  finish(): void {
    pump?.finish(this.#number);
  }

  /**
   * Resolves once the bytes that are in the source now have been passed on, and read if they went to a fifo; once the
   * transfer has ended; or when the time is up.
   */
  async flush(milliseconds: number): Promise<void> {
    const listener = transfers.get(this.#number);
    if (listener === undefined) return;
    let timer!: NodeJS.Timeout;
    await new Promise<void>((resolve) => {
      listener.flushed.push(resolve);
      // A thread that a disk holds up reports nothing.
      timer = setTimeout(resolve, milliseconds);
      pump?.flush(this.#number, milliseconds);
    });
    clearTimeout(timer);
  }

  /** Ends at once, or gives up what was not started. What has not been passed on is lost. */
  stop(): void {
    pump?.stop(this.#number);
  }

  #start(other: number, otherIsSource: boolean): void {
    checked("start a transfer", pump?.start(this.#number, other, otherIsSource) ?? 0);
    if (this.#holds) hold(1);
    const ended = (errno: number) => {
      if (this.#holds) hold(-1);
      this.#tell(errno);
    };
    transfers.set(this.#number, { flushed: [], dropped: this.#dropped, ended });
  }
}

/** A thread may be one too many for the process. The descriptor is closed then, as for any transfer that cannot start. */
function newPump(end: number, what: string): NativePump {
  try {
    return new (loadNative().BindingPump)(onReports);
  } catch (error) {
    closeDescriptor(end);
    const errno = thrownErrno(error);
    if (errno !== undefined) checked(`start the thread that passes on ${what}`, -errno);
    throw error;
  }
}

function hold(change: number): void {
  const before = held;
  held += change;
  if (before === 0 || held === 0) pump?.hold(held > 0);
}

// Jest and others ask what async hooks show them whether it keeps the process alive.
onReports.hasRef = () => held > 0;

function onReports(): void {
  const reports = pump?.takeReports() ?? [];
  for (let index = 0; index < reports.length; index += 2) {
    const [number = 0, happened = 0] = reports.slice(index, index + 2);
    const listener = transfers.get(number);
    if (listener === undefined) continue;
    if (happened < FLUSHED) {
      listener.dropped(FLUSHED - happened);
      continue;
    }
    for (const resolve of listener.flushed.splice(0)) resolve();
    if (happened === FLUSHED) continue;
    transfers.delete(number);
    listener.ended(happened);
  }
}
