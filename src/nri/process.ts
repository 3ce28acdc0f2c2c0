import { setImmediate } from "node:timers";
import { constants } from "node:os";

/** What can be closed. */
interface Closable {
  close(): Promise<void>;
}

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/** The plugins that end with the process. */
const owners = new Set<Closable>();

/** Ends a plugin, and then the process, at SIGINT and SIGTERM. */
export function takeProcess(plugin: Closable): void {
  if (owners.size === 0) for (const signal of SIGNALS) process.on(signal, end);
  owners.add(plugin);
}

/** Stops ending the process with this plugin. */
export function releaseProcess(plugin: Closable): void {
  owners.delete(plugin);
  if (owners.size === 0) for (const signal of SIGNALS) process.off(signal, end);
}

function end(signal: NodeJS.Signals): void {
  // Not by the signal itself, which the first process of a container would ignore.
  process.exitCode = 128 + constants.signals[signal];
  const closing = [...owners].map((plugin) => plugin.close());
  // Reactions to the end still run.
  void Promise.allSettled(closing).then(() => setImmediate(() => process.exit()));
}
