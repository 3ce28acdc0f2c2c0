import { clearTimeout, setImmediate, setTimeout } from "node:timers";
import { constants } from "node:os";

/** What can be closed. */
interface Closable {
  close(): Promise<void>;
}

/** Milliseconds for what a program does when its plugin is lost. */
const LOSS_GRACE_MS = 5000;
const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/** The plugins that end with the process. */
const owners = new Set<Closable>();
let ending: NodeJS.Timeout | undefined;

/** Ends a plugin, and then the process, at SIGINT and SIGTERM. */
export function takeProcess(plugin: Closable): void {
  clearTimeout(ending);
  if (owners.size === 0) for (const signal of SIGNALS) process.on(signal, end);
  owners.add(plugin);
}

/**
 * Stops ending the process with this plugin. If it was lost, and is the last one, the process ends with what the program
 * still does then: a server for probes or metrics would hide from whoever starts it anew that there is no plugin any more.
 */
export function releaseProcess(plugin: Closable, isLost: boolean): void {
  owners.delete(plugin);
  // A code that somebody has set says more.
  if (isLost) process.exitCode ??= 1;
  if (owners.size > 0) return;
  for (const signal of SIGNALS) process.off(signal, end);
  if (isLost) ending = setTimeout(() => process.exit(), LOSS_GRACE_MS).unref();
}

function end(signal: NodeJS.Signals): void {
  // Not by the signal itself, which the first process of a container would ignore.
  process.exitCode = 128 + constants.signals[signal];
  const closing = [...owners].map((plugin) => plugin.close());
  // Reactions to the end still run.
  void Promise.allSettled(closing).then(() => setImmediate(() => process.exit()));
}
