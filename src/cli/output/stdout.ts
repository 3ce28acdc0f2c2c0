import { once } from "node:events";
import { styleText } from "node:util";
import { type Part, Text } from "./text.js";

type Style = "bold" | "dim" | "red" | "green" | "yellow" | "blue" | "magenta" | "cyan";

/** Whether stdout is a terminal, which decides about layout. Colour has rules of its own, see {@link styled}. */
export function onTerminal(): boolean {
  return process.stdout.isTTY;
}

/** The width that lines may have: the terminal's, otherwise no limit. */
export function width(): number {
  return onTerminal() ? process.stdout.columns || 80 : Number.POSITIVE_INFINITY;
}

/** A text in a style, where stdout shows styles: on a terminal, by NO_COLOR and by FORCE_COLOR. */
export function styled(style: Style, part: Part): Text {
  return Text.painted(part, painter(style, process.stdout));
}

/** As {@link styled}, for stderr. */
export function styledError(style: Style, part: Part): Text {
  return Text.painted(part, painter(style, process.stderr));
}

/** What puts the escape sequences of a style around a text, where stdout shows styles. */
export function painterOf(style: Style): (plain: string) => string {
  return painter(style, process.stdout);
}

const painters = new Map<NodeJS.WriteStream, Map<Style, (plain: string) => string>>();

/** Whether a stream shows styles is asked once, since it costs more than a line does. */
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

/** Says what ends the wait for a reader, so that one that has stopped reading cannot keep shimctl from ending. */
export function endWaitsWith(signal: AbortSignal): void {
  stop = signal;
}

/** Ends the process if it was stopped and its reader is behind, for whom it would wait otherwise. */
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

/** Writes a line to stdout without waiting; see {@link waiting}. */
export function printNow(line: Part): void {
  write(process.stdout, line);
}

/** How many bytes wait for the reader of stdout. */
export function waiting(): number {
  return process.stdout.writableLength;
}

/** Calls back when nothing waits for the reader of stdout any more. */
export function onceRead(callback: () => void): void {
  process.stdout.once("drain", callback);
}

/** Writes lines to stderr. */
export function printError(lines: Part | readonly Part[]): void {
  write(process.stderr, lines);
}

/** The one place from which anything goes to a terminal, but for what draws in place: a progress bar and a live view. */
function write(stream: NodeJS.WriteStream, lines: Part | readonly Part[]): boolean {
  const all = typeof lines === "object" && !(lines instanceof Text) ? lines : [lines];
  return stream.write(all.map((line) => `${Text.of(line).rendered}\n`).join(""));
}

/** Ends the process without a word when its reader has gone, as `| head` does. */
export function endWithReader(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE") process.exit(0);
      throw error;
    });
  }
}
