import { closeSync, constants, openSync, writeSync } from "node:fs";
import { Writable } from "node:stream";
import { inspect } from "node:util";

/** More to say in a line of the log; an Error is shown by its stack. */
export type LogFields = Readonly<Record<string, unknown>>;

/**
 * The shim's log: what it writes appears in containerd's, in the same form. The levels are containerd's; `debug` is
 * shown if containerd logs at that level itself.
 *
 * ```ts
 * context.log.warn("cannot unmount", { path, error });
 * ```
 *
 * A line that does not fit into the pipe to containerd is dropped, so that a shim goes on while containerd is away; how
 * many were is said as soon as there is room.
 */
export class ShimLog {
  readonly #descriptor: number;
  readonly #debug: boolean;
  readonly #always: string;
  #dropped = 0;

  /** @internal */
  constructor(descriptor: number, debug: boolean, fields: LogFields) {
    this.#descriptor = descriptor;
    this.#debug = debug;
    this.#always = pairs(fields);
  }

  /** Writes a line if containerd itself logs at this level. */
  debug(message: string, fields?: LogFields): void {
    if (this.#debug) this.#write("debug", message, fields);
  }

  /** Writes a line of what goes on. */
  info(message: string, fields?: LogFields): void {
    this.#write("info", message, fields);
  }

  /** Writes a line of what did not go as it should, and was dealt with. */
  warn(message: string, fields?: LogFields): void {
    this.#write("warning", message, fields);
  }

  /** Writes a line of what failed. */
  error(message: string, fields?: LogFields): void {
    this.#write("error", message, fields);
  }

  #write(level: string, message: string, fields: LogFields = {}): void {
    if (this.#dropped > 0) {
      const news = `${this.#dropped} lines of the log were dropped`;
      if (!this.#put(this.#line("warning", news, {}))) return;
      this.#dropped = 0;
    }
    this.#put(this.#line(level, message, fields));
  }

  #line(level: string, message: string, fields: LogFields): string {
    const time = new Date().toISOString();
    return `time="${time}" level=${level} msg=${JSON.stringify(message)}${pairs(fields)}${this.#always}\n`;
  }

  /** One write a line: up to 4096 bytes the lines of several writers do not mix. */
  #put(line: string): boolean {
    try {
      writeSync(this.#descriptor, line);
      return true;
    } catch {
      // EAGAIN: it is full. Whatever else it is, there is nowhere to say so.
      this.#dropped++;
      return false;
    }
  }
}

function pairs(fields: LogFields): string {
  return Object.entries(fields)
    .map(([name, value]) => ` ${name}=${text(value)}`)
    .join("");
}

function text(value: unknown): string {
  if (typeof value === "number" || typeof value === "bigint" || typeof value === "boolean")
    return String(value);
  return JSON.stringify(typeof value === "string" ? value : inspect(value, { breakLength: Infinity }));
}

/**
 * Makes console.log and whatever else writes to stdout or stderr write lines of the log, and sees to it that nothing
 * waits for room in the pipe behind them, not even Node's last words: to hand a descriptor to a process makes it block.
 */
export function logStandardStreams(log: ShimLog): void {
  for (const fd of [1, 2]) {
    const again = openSync(`/proc/self/fd/${fd}`, constants.O_RDWR | constants.O_NONBLOCK);
    closeSync(fd);
    // The lowest number that is free.
    openSync(`/proc/self/fd/${again}`, constants.O_RDWR | constants.O_NONBLOCK);
    closeSync(again);
  }
  replaceStream("stdout", (line) => log.info(line));
  replaceStream("stderr", (line) => log.warn(line));
}

function replaceStream(name: "stdout" | "stderr", write: (line: string) => void): void {
  let rest = "";
  const value = new Writable({
    decodeStrings: false,
    write(chunk: string | Uint8Array, _encoding, done) {
      const lines = (rest + (typeof chunk === "string" ? chunk : Buffer.from(chunk).toString())).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) write(line);
      done();
    },
  });
  Object.defineProperty(process, name, { configurable: true, enumerable: true, value });
}
