import { createLogUpdate } from "log-update";
import { drawsInPlace, height, print, screen, width } from "./stdout.js";
import { type Part, Text } from "./text.js";

/** Shows text that changes: in place on a terminal, elsewhere one version after the other. */
export interface Live {
  show(lines: readonly Part[]): Promise<void>;
  /** Leaves the last version on the screen. */
  done(): void;
  /** Takes the last version off the screen. */
  clear(): void;
}

/** A place for changing text on stdout. Where it is drawn in place, the key q ends the command as Ctrl-C does. */
export function live(): Live {
  if (!drawsInPlace()) {
    return {
      show: (lines) => print(lines),
      done() {},
      clear() {},
    };
  }
  const update = createLogUpdate(screen);
  const release = takeKeys(() => update.done());
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

function onKeys(keys: Buffer): void {
  for (const key of keys.toString("latin1")) {
    const signal = SIGNALS[key];
    if (signal !== undefined) process.kill(process.pid, signal);
  }
}

/**
 * Takes the keys from the terminal, which would print them into the picture. Returns a function that gives them back.
 *
 * @param leave - Shows the cursor again, below the picture. Called before a signal stops or ends the process.
 */
function takeKeys(leave: () => void): () => void {
  const { stdin } = process;
  const cooked = () => void (stdin.isTTY && stdin.setRawMode(false));
  // A shell that has the terminal back sets its own mode, which Node does not know of.
  const raw = () => void (stdin.isTTY && stdin.setRawMode(false).setRawMode(true));
  const onStop = () => {
    leave();
    cooked();
    process.kill(process.pid, "SIGSTOP");
  };
  const onQuit = () => {
    leave();
    cooked();
    process.off("SIGQUIT", onQuit).kill(process.pid, "SIGQUIT");
  };
  if (stdin.isTTY) {
    // The terminal was closed, for which there is SIGHUP.
    stdin.on("error", () => undefined);
    raw();
    stdin.on("data", onKeys);
  }
  process.on("SIGTSTP", onStop).on("SIGCONT", raw).on("SIGQUIT", onQuit).on("exit", cooked);
  return () => {
    process.off("SIGTSTP", onStop).off("SIGCONT", raw).off("SIGQUIT", onQuit).off("exit", cooked);
    if (!stdin.isTTY) return;
    stdin.off("data", onKeys).pause();
    cooked();
  };
}
