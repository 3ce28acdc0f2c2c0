import { createLogUpdate } from "log-update";
import { onTerminal, print, width } from "./stdout.js";

/** Shows text that changes: in its place on a terminal, one after the other elsewhere. */
export interface Live {
  show(lines: readonly string[]): Promise<void>;
  /** Leaves what was shown last. */
  done(): void;
}

/** A place for changing text on stdout. */
export function live(): Live {
  if (!onTerminal()) {
    return {
      show: (lines) => print(lines.join("\n")),
      done() {},
    };
  }
  const update = createLogUpdate(process.stdout);
  return {
    async show(lines) {
      // What does not fit would scroll, and leave copies behind.
      const fitting = lines.slice(0, Math.max((process.stdout.rows || 24) - 1, 1));
      update(fitting.map((line) => cut(line, width())).join("\n"));
    },
    done: () => update.done(),
  };
}

/** A line cut to a width, escape sequences not counted. */
function cut(line: string, columns: number): string {
  let [visible, end] = [0, 0];
  // An escape sequence that sets a style, or one character.
  for (const [part] of line.matchAll(/\x1b\[[\d;]*m|./gsu)) {
    const escape = part.startsWith("\x1b");
    if (!escape && ++visible > columns) return `${line.slice(0, end)}\x1b[0m`;
    end += part.length;
  }
  return line;
}
