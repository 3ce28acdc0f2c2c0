import type { EventName } from "./events.js";
import type { ConnectedPlugin, PluginCall } from "./test-plugin.js";

/** The plugins of a test runtime. Like any runtime it does one thing at a time, and waits for all plugins before the next. */
export class ConnectedPlugins {
  readonly #plugins = new Set<ConnectedPlugin>();
  readonly #joined = new Set<() => void>();
  #turn: Promise<unknown> = Promise.resolve();

  /** The plugins, in the order in which they are called. */
  get inOrder(): ConnectedPlugin[] {
    return [...this.#plugins].toSorted((one, other) => Number(one.index) - Number(other.index));
  }

  /** Adds a plugin that is synchronized, until it ends. */
  add(plugin: ConnectedPlugin): void {
    this.#plugins.add(plugin);
    void plugin.closed.then(() => this.#plugins.delete(plugin));
    for (const resolve of this.#joined) resolve();
    this.#joined.clear();
  }

  /** Resolves when there is a plugin with this index and name. */
  async joined(id: string): Promise<void> {
    while (this.inOrder.every((plugin) => plugin.id !== id))
      await new Promise<void>((resolve) => this.#joined.add(resolve));
  }

  /** Calls the plugins that have subscribed, one after the other. */
  async call(name: EventName, call: PluginCall): Promise<void> {
    for (const plugin of this.inOrder) {
      // One that has gone meanwhile is passed over, whatever its failure policy.
      if (this.#plugins.has(plugin) && plugin.events.includes(name)) await plugin.ask(name, call);
    }
  }

  /** Does something once all that was begun before is done. */
  alone<T>(act: () => T | Promise<T>): Promise<T> {
    const acted = this.#turn.then(act);
    this.#turn = acted.catch(() => undefined);
    return acted;
  }

  /** Disconnects all plugins. */
  async close(): Promise<void> {
    await Promise.all([...this.#plugins].map((plugin) => plugin.close()));
  }
}
