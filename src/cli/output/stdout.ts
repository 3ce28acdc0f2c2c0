import { once } from "node:events";
import { styleText } from "node:util";
import { ExitCode } from "../exit-code.js";
import { type Part, Text } from "./text.js";

type Style = "bold" | "dim" | "red" | "green" | "yellow" | "blue" | "magenta" | "cyan";

/** Whether stdout is a terminal, which decides the layout. Colour has rules of its own; see {@link styled}. */
export function onTerminal(): boolean {
  return process.stdout.isTTY;
}

/** Whether a stream is a terminal that can draw over what it shows. A dumb one prints escape sequences as they are. */
export function drawsInPlace(stream: { readonly isTTY: boolean } = process.stdout): boolean {
  return stream.isTTY && process.env["TERM"] !== "dumb";
}

/** The columns that a line may have: those of the terminal; otherwise there is no limit. */
export function width(): number {
  return onTerminal() ? process.stdout.columns || 80 : Number.POSITIVE_INFINITY;
}

/** The lines that the terminal has. */
export function height(): number {
  return process.stdout.rows || 24;
}

/** The terminal, with the size that it is taken to have if it knows none, as a serial console does. */
export const screen = {
  isTTY: true,
  write: (text: string) => process.stdout.write(text),
  get columns() {
    return width();
  },
  get rows() {
    return height();
  },
} as NodeJS.WriteStream;

/** A text in a style, if stdout shows styles, which depends on the terminal, NO_COLOR and FORCE_COLOR. */
export function styled(style: Style, part: Part): Text {
  return Text.painted(part, painter(style, process.stdout));
}

/** As {@link styled}, for stderr. */
export function styledError(style: Style, part: Part): Text {
  return Text.painted(part, painter(style, process.stderr));
}

/** A function that puts the escape sequences of a style around a text, if stdout shows styles. */
export function painterOf(style: Style): (plain: string) => string {
  return painter(style, process.stdout);
}

const painters = new Map<NodeJS.WriteStream, Map<Style, (plain: string) => string>>();

/** A painter is kept, because to ask whether a stream shows styles costs more than to print a line. */
function painter(style: Style, stream: NodeJS.WriteStream): (plain: string) => string {
  const known = painters.get(stream) ?? new Map<Style, (plain: string) => string>();
  painters.set(stream, known);
  let paint = known.get(style);
  if (paint === undefined) {
    const [open = "", close = ""] = styleText(style, "_", { stream }).split("_");
    paint = (plain) => open + plain + close;
    known.set(style, paint);
  }
  return paint;
}

let stop: AbortSignal | undefined;

/** Sets the signal that ends waiting for a reader, so that one that no longer reads cannot keep shimctl running. */
export function endWaitsWith(signal: AbortSignal): void {
  stop = signal;
}

/** Ends the process if it was stopped while its reader is behind; otherwise it would wait for the reader. */
export function leaveUnread(): void {
  if (stop?.aborted && waiting() > 0) process.exit();
}

/** Writes lines to stdout and waits while their reader is behind. A newline within a line is escaped, too. */
export async function print(lines: Part | readonly Part[]): Promise<void> {
  if (write(process.stdout, lines)) return;
  try {
    await once(process.stdout, "drain", { signal: stop });
  } catch (error) {
    if (!stop?.aborted) throw error;
  }
}

/** Writes lines to stdout. Resolves to true once they have left the process, or to false if it is stopped before. */
export function handedOver(lines: readonly Part[]): Promise<boolean> {
  if (stop?.aborted) return Promise.resolve(false);
  return new Promise((resolve) => {
    const given = (left: boolean) => {
      stop?.removeEventListener("abort", stopped);
      resolve(left);
    };
    const stopped = () => given(false);
    stop?.addEventListener("abort", stopped);
    // What cannot be written ends the process; see endWithOutput.
    process.stdout.write(rendered(lines), (error) => given(!error));
  });
}

/** Writes a line to stdout without waiting; see {@link waiting}. */
export function printNow(line: Part): void {
  write(process.stdout, line);
}

/** How many bytes wait for the reader of stdout. */
export function waiting(): number {
  return process.stdout.writableLength;
}

/** Calls back once nothing waits for the reader of stdout. */
export function onceRead(callback: () => void): void {
  process.stdout.once("drain", callback);
}

/** Writes lines to stderr. */
export function printError(lines: Part | readonly Part[]): void {
  write(process.stderr, lines);
}

/** Writes lines. Nothing else writes to a terminal, except what draws in place: the progress bar and the live view. */
function write(stream: NodeJS.WriteStream, lines: Part | readonly Part[]): boolean {
  return stream.write(rendered(typeof lines === "object" && !(lines instanceof Text) ? lines : [lines]));
}

function rendered(lines: readonly Part[]): string {
  return lines.map((line) => `${Text.of(line).rendered}\n`).join("");
}

/**
 * Ends the process when its output cannot be written: silently when the reader has gone, as after `| head`, otherwise with
 * the system's error. Without a reader of stderr it continues, and its exit code stays what it is.
 */
export function endWithOutput(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", ({ code, message }: NodeJS.ErrnoException) => {
      if (code === "EPIPE") {
        if (stream === process.stderr) return;
        process.exit(0);
      }
      // The terminal was closed.
      if (code === "EIO" && stream.isTTY) return void process.kill(process.pid, "SIGHUP");
      if (stream === process.stdout)
        printError(styledError("red", `shimctl: cannot write to stdout: ${message}`));
      process.exit(ExitCode.Output);
    });
  }
}
