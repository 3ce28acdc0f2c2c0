import { createLogUpdate } from "log-update";
import { height, onTerminal, print, screen, width } from "./stdout.js";
import { type Part, Text } from "./text.js";

/** Shows text that changes: in place on a terminal, elsewhere one version after the other. */
export interface Live {
  show(lines: readonly Part[]): Promise<void>;
  /** Leaves the last version on the screen. */
  done(): void;
  /** Takes the last version off the screen. */
  clear(): void;
}

/** A place for changing text on stdout. On a terminal, the key q ends the command as Ctrl-C does. */
export function live(): Live {
  if (!onTerminal()) {
    return {
      show: (lines) => print(lines),
      done() {},
      clear() {},
    };
  }
  const update = createLogUpdate(screen);
  const release = takeKeys();
  return {
    async show(lines) {
      // Lines that do not fit would scroll, and leave copies behind.
      const room = Math.max(height() - 1, 2);
      const more = lines.length - room;
      const shown = more > 0 ? [...lines.slice(0, room - 1), `… ${more + 1} more lines`] : lines;
      update(shown.map((line) => Text.of(line).cut(width()).rendered).join("\n"));
    },
    done() {
      update.done();
      release();
    },
    clear() {
      update.clear();
      update.done();
      release();
    },
  };
}

/** What the terminal sends for keys that it would otherwise turn into signals. */
const SIGNALS: Readonly<Record<string, NodeJS.Signals>> = {
  q: "SIGINT",
  Q: "SIGINT",
  "\x03": "SIGINT",
  "\x04": "SIGINT",
  "\x1c": "SIGQUIT",
  "\x1a": "SIGTSTP",
};

/** Takes the keys from the terminal, which would print them into the picture. Returns a function that gives them back. */
function takeKeys(): () => void {
  const { stdin } = process;
  if (!stdin.isTTY) return () => undefined;
  const cooked = () => void stdin.setRawMode(false);
  const raw = () => void stdin.setRawMode(true);
  const onKeys = (keys: Buffer) => {
    for (const key of keys.toString("latin1")) {
      const signal = SIGNALS[key];
      if (signal === undefined) continue;
      // A process that stops, or that the signal ends, leaves the terminal as it was.
      if (signal !== "SIGINT") cooked();
      process.kill(process.pid, signal);
    }
  };
  raw();
  stdin.on("data", onKeys);
  process.on("SIGCONT", raw);
  process.on("exit", cooked);
  return () => {
    stdin.off("data", onKeys).pause();
    process.off("SIGCONT", raw);
    process.off("exit", cooked);
    cooked();
  };
}
