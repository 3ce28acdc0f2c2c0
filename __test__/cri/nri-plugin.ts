import { type PluginHandlers, type RunningPlugin, runPlugin } from "containerd-shim-protos/nri";
import { expect, onTestFinished, vi } from "vitest";

/** How long a test waits for containerd. */
export const SECONDS = { timeout: 30_000, interval: 100 };

const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** Runs a plugin in this process until the test has finished; resolves when it is synchronized. */
export async function start(name: string, index: string, handlers: PluginHandlers): Promise<RunningPlugin> {
  let isSynchronized = false;
  const { synchronize } = handlers;
  const reconnect = { initialDelayMs: 50, maxDelayMs: 200 };
  const plugin = runPlugin(
    name,
    index,
    {
      ...handlers,
      synchronize: (inventory, context) => {
        isSynchronized = true;
        return synchronize?.(inventory, context);
      },
    },
    { log: quiet, ownsProcess: false, reconnect },
  );
  onTestFinished(() => plugin.close());
  await plugin.ready;
  await vi.waitFor(() => expect(isSynchronized).toBe(true), SECONDS);
  return plugin;
}
