import { once } from "node:events";
import { styleText } from "node:util";

type Style = Parameters<typeof styleText>[0];

/** Whether stdout is a terminal, which decides about layout. Colour has rules of its own, see {@link styled}. */
export function onTerminal(): boolean {
  return process.stdout.isTTY;
}

/** The width that lines may have: the terminal's, otherwise no limit. */
export function width(): number {
  return onTerminal() ? process.stdout.columns || 80 : Number.POSITIVE_INFINITY;
}

/** A text in a style, where stdout shows styles: on a terminal, by NO_COLOR and by FORCE_COLOR. */
export function styled(style: Style, text: string): string {
  return styleText(style, text, { stream: process.stdout });
}

/** As {@link styled}, for stderr. */
export function styledError(style: Style, text: string): string {
  return styleText(style, text, { stream: process.stderr });
}

/** Writes a line to stdout and waits while its reader is behind. */
export async function print(line: string): Promise<void> {
  if (!process.stdout.write(`${line}\n`)) await once(process.stdout, "drain");
}

/** Writes a line to stderr. */
export function printError(line: string): void {
  process.stderr.write(`${line}\n`);
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
