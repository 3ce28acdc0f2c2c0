import { stripVTControlCharacters } from "node:util";
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
      const room = Math.max((process.stdout.rows || 24) - 1, 2);
      const more = lines.length - room;
      const shown = more > 0 ? [...lines.slice(0, room - 1), `… ${more + 1} more lines`] : lines;
      update(shown.map((line) => cut(line, width())).join("\n"));
    },
    done: () => update.done(),
  };
}

/** A line cut to a width, escape sequences not counted. */
function cut(line: string, columns: number): string {
  if (stripVTControlCharacters(line).length <= columns) return line;
  let [visible, result] = [0, ""];
  for (const part of line.split(STYLE)) {
    if (STYLE.test(part)) result += part;
    else {
      result += part.slice(0, Math.max(columns - visible, 0));
      visible += part.length;
    }
  }
  return result;
}

const ESCAPE = "\u001b";
/** The escape sequence of a style; in parentheses, so that `split` keeps it. */
const STYLE = new RegExp(`(${ESCAPE}\\[[\\d;]*m)`);
