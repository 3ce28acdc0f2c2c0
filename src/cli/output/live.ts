import { createLogUpdate } from "log-update";
import { onTerminal, print, width } from "./stdout.js";
import { type Part, Text } from "./text.js";

/** Shows text that changes: in place on a terminal, elsewhere one version after the other. */
export interface Live {
  show(lines: readonly Part[]): Promise<void>;
  /** Leaves the last version on the screen. */
  done(): void;
}

/** A place for changing text on stdout. */
export function live(): Live {
  if (!onTerminal()) {
    return {
      show: (lines) => print(lines),
      done() {},
    };
  }
  const update = createLogUpdate(process.stdout);
  return {
    async show(lines) {
      // Lines that do not fit would scroll, and leave copies behind.
      const room = Math.max((process.stdout.rows || 24) - 1, 2);
      const more = lines.length - room;
      const shown = more > 0 ? [...lines.slice(0, room - 1), `… ${more + 1} more lines`] : lines;
      update(shown.map((line) => Text.of(line).cut(width()).rendered).join("\n"));
    },
    done: () => update.done(),
  };
}
