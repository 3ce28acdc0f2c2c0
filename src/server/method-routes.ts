import type { BindingMethod } from "../native/addon.js";
import type { Bridge } from "../native/bridge.js";
import type { RequestReceiver } from "../native/types.js";

/**
 * The methods of a server, and the routes that their requests carry. They have routes only while requests may come: a thread has
 * a bounded number of routes, and each keeps its server. A program may make servers for as long as it lives that never listen,
 * because their address cannot be bound, or whose peers have left, and forget about them without closing them.
 */
export class MethodRoutes {
  readonly #bridge: Bridge;
  readonly #methods: [method: Omit<BindingMethod, "route">, receiver: RequestReceiver][] = [];
  #routed: BindingMethod[] = [];

  constructor(bridge: Bridge) {
    this.#bridge = bridge;
  }

  /** Adds a method, whose requests go to `receiver`. */
  add(method: Omit<BindingMethod, "route">, receiver: RequestReceiver): void {
    this.#methods.push([method, receiver]);
  }

  /** The methods with their routes, for a listener. Throws a TtrpcError if there are no routes left. */
  routed(): BindingMethod[] {
    if (this.#routed.length > 0) return this.#routed;
    try {
      for (const [method, receiver] of this.#methods) {
        this.#routed.push({ ...method, route: this.#bridge.serve(receiver) });
      }
      return this.#routed;
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /** Gives the routes back. No listener or connection may use them any more. */
  release(): void {
    for (const { route } of this.#routed) this.#bridge.unserve(route);
    this.#routed = [];
  }
}
