import { Buffer } from "node:buffer";
import { clearTimeout, setTimeout } from "node:timers";
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { Writable } from "node:stream";
import { inspect } from "node:util";
import { escaped } from "../escaped.js";
import { Lines, shortened } from "./log-lines.js";

/** Fields of a log line. An Error is shown by its stack. */
export type LogFields = Readonly<Record<string, unknown>>;

/**
 * The shim's log. Its lines appear in containerd's log, in the same form and with the same levels; `debug` lines appear
 * if containerd itself logs at that level.
 *
 * ```ts
 * context.log.warn("cannot unmount", { path, error });
 * ```
 *
 * If the pipe to containerd has no room for a line, the line is dropped, so that a shim keeps running while containerd is
 * away. A later line says how many were dropped. Lines are never mixed or cut short: if the pipe takes only part of a
 * line, the rest follows before anything else. A message or field longer than 64 Ki characters is cut, and the line says
 * so. Its methods never throw.
 */
export class ShimLog {
  #descriptor: number;
  readonly #debug: boolean;
  readonly #always: LogFields;
  readonly #alwaysText: string;
  /** Lines dropped since the last one that was written. */
  #dropped = 0;
  /** The rest of the last line, which the pipe has not taken yet. */
  #rest: Uint8Array | undefined;
  #retry: NodeJS.Timeout | undefined;
  #ended = false;
  readonly #atExit = () => void this.#catchUp();

  /** @internal */
  constructor(descriptor: number, debug: boolean, fields: LogFields) {
    this.#descriptor = descriptor;
    this.#debug = debug;
    this.#always = fields;
    this.#alwaysText = pairs(fields);
  }

  /**
   * Writes through an open file of its own from now on, which does not block whatever becomes of the other.
   *
   * @internal
   */
  openAgain(): void {
    this.#descriptor = openAgain(this.#descriptor);
  }

  /**
   * Writes nothing from now on, because the descriptor is about to be closed and its number may then be another's.
   *
   * @internal
   */
  end(): void {
    this.#ended = true;
    clearTimeout(this.#retry);
    process.off("exit", this.#atExit);
  }

  /** Writes a line if containerd itself logs at this level. */
  debug(message: string, fields?: LogFields): void {
    if (this.#debug) this.#write("debug", message, fields);
  }

  /** Writes a line about normal operation. */
  info(message: string, fields?: LogFields): void {
    this.#write("info", message, fields);
  }

  /** Writes a line about a problem that was handled. */
  warn(message: string, fields?: LogFields): void {
    this.#write("warning", message, fields);
  }

  /** Writes a line about a failure. */
  error(message: string, fields?: LogFields): void {
    this.#write("error", message, fields);
  }

  #write(level: string, message: string, fields: LogFields = {}): void {
    if (this.#ended) return;
    if (this.#catchUp() && this.#put(level, message, fields)) return;
    this.#dropped++;
    this.#tryAgain(FIRST_RETRY_MS);
  }

  /** Writes the rest of the last line, and how many lines were dropped since. Returns whether there is room for more. */
  #catchUp(): boolean {
    if (this.#rest !== undefined) this.#rest = this.#send(this.#rest);
    if (this.#rest !== undefined) return false;
    if (this.#dropped === 0) return true;
    if (!this.#put("warning", `${this.#dropped} lines of the log were dropped`, {})) return false;
    this.#dropped = 0;
    return this.#rest === undefined;
  }

  /** The fields of every line. One that the line itself has is written once, with the line's value. */
  #othersThan(fields: LogFields): string {
    const entries = Object.entries(this.#always);
    const others = entries.filter(([name]) => !has(fields, name));
    return others.length === entries.length ? this.#alwaysText : pairs(Object.fromEntries(others));
  }

  /** Writes a line, unless there is no room to begin it. */
  #put(level: string, message: string, fields: LogFields): boolean {
    const time = new Date().toISOString();
    const line = Buffer.from(
      `time="${time}" level=${level} msg=${text(message)}${pairs(fields)}${this.#othersThan(fields)}\n`,
    );
    const rest = this.#send(line);
    if (rest === line) return false;
    this.#rest = rest;
    if (rest !== undefined) this.#tryAgain(FIRST_RETRY_MS);
    return true;
  }

  /**
   * Makes one write for each line. The kernel writes up to 4096 bytes as a whole or not at all, so the lines of several
   * writers do not mix. Returns what was not written.
   */
  #send(bytes: Uint8Array): Uint8Array | undefined {
    try {
      const written = writeSync(this.#descriptor, bytes);
      return written < bytes.length ? bytes.subarray(written) : undefined;
    } catch {
      // EAGAIN means that the pipe is full. For any other error, there is nowhere to report it.
      return bytes;
    }
  }

  /** The rest must not wait for the next line, which may never come. */
  #tryAgain(afterMs: number): void {
    if (this.#retry !== undefined) return;
    process.on("exit", this.#atExit);
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      process.off("exit", this.#atExit);
      if (!this.#catchUp()) this.#tryAgain(Math.min(afterMs * 2, LAST_RETRY_MS));
    }, afterMs).unref();
  }
}

const FIRST_RETRY_MS = 10;
const LAST_RETRY_MS = 1000;

/** Whether a line has a field. A proxy that throws has none. */
function has(fields: LogFields, name: string): boolean {
  try {
    return Object.prototype.propertyIsEnumerable.call(fields, name);
  } catch {
    return false;
  }
}

/** What every line begins with. A field of the same name gets a prefix, as in containerd's own log. */
const OWN = new Set(["time", "level", "msg"]);

function pairs(fields: LogFields): string {
  try {
    return Object.entries(fields)
      .map(([given, value]) => {
        const name = OWN.has(given) ? `fields.${given}` : given.replaceAll(UNFIT_FOR_NAME, "_");
        return ` ${name}=${text(value)}`;
      })
      .join("");
  } catch (error) {
    // A getter threw. The line itself is still worth writing.
    return ` fields=${text(error)}`;
  }
}

/** Characters that would end a name or a line. */
const UNFIT_FOR_NAME = /[\s="\p{Cc}]/gu;

function text(value: unknown): string {
  if (typeof value === "number" || typeof value === "bigint" || typeof value === "boolean")
    return String(value);
  // JSON leaves some control characters as they are.
  return escaped(JSON.stringify(shortened(typeof value === "string" ? value : shown(value))));
}

function shown(value: unknown): string {
  try {
    return inspect(value, { breakLength: Infinity });
  } catch {
    return "a value that cannot be shown";
  }
}

/**
 * Turns everything written to stdout and stderr, console.log included, into lines of the log. Nothing then waits for room
 * in the pipe behind them, not even Node's last words: passing a descriptor to a process makes that descriptor block. The log
 * gets one of its own, which is never passed on: a service may start a process that inherits stdout and stderr.
 */
export function logStandardStreams(log: ShimLog): void {
  for (const fd of [1, 2]) {
    const again = openAgain(fd);
    closeSync(fd);
    // The lowest free number.
    openAgain(again);
    closeSync(again);
  }
  log.openAgain();
  replaceStream("stdout", (line) => log.info(line));
  replaceStream("stderr", (line) => log.warn(line));
}

/** Another open file of the same pipe, which does not block. */
function openAgain(fd: number): number {
  return openSync(`/proc/self/fd/${fd}`, constants.O_RDWR | constants.O_NONBLOCK);
}

function replaceStream(name: "stdout" | "stderr", write: (line: string) => void): void {
  const lines = new Lines(write);
  const value = new Writable({
    decodeStrings: false,
    write(chunk: string | Uint8Array, encoding, done) {
      const isText = typeof chunk === "string" && (encoding === "utf8" || encoding === "utf-8");
      lines.write(isText || typeof chunk !== "string" ? chunk : Buffer.from(chunk, encoding));
      done();
    },
  });
  process.on("exit", () => lines.end());
  Object.defineProperty(process, name, { configurable: true, enumerable: true, value });
}
