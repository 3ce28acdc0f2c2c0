import { shown } from "../value-kinds.js";
import { Code } from "../code.js";
import { TtrpcError } from "../error.js";

/** Routes are 16 bits wide. */
const LIMIT = 0xffff;

const LONGEST_NAME = 4096;

/**
 * The routes of the methods that are called. They are never released, because a program calls a bounded set of methods.
 */
export class Routes {
  readonly #numbers = new Map<string, Map<string, number>>();
  readonly #names: { readonly service: string; readonly method: string }[] = [];

  find(service: string, method: string): number | undefined {
    return this.#numbers.get(service)?.get(method);
  }

  /**
   * The next free route, for {@link add}. Throws a TypeError if a name is invalid, and a TtrpcError with code
   * `ResourceExhausted` if no route is left.
   */
  next(service: string, method: string): number {
    checkName("service", service);
    checkName("method", method);
    if (this.#names.length > LIMIT)
      throw new TtrpcError(`more than ${LIMIT} methods were called`, Code.ResourceExhausted);
    return this.#names.length;
  }

  /** Gives a method its route, of which Rust has been told. */
  add(service: string, method: string, route: number): void {
    const methods = this.#numbers.get(service) ?? new Map<string, number>();
    this.#numbers.set(service, methods.set(method, route));
    this.#names[route] = { service, method };
  }

  /** The service and method of a route. */
  nameOf(route: number): { readonly service: string; readonly method: string } {
    return this.#names[route] ?? { service: "", method: "" };
  }
}

function checkName(what: string, name: unknown): void {
  if (typeof name !== "string" || name === "")
    throw new TypeError(`${what} must be a non-empty string, not ${shown(name)}`);
  if (!name.isWellFormed()) throw new TypeError(`${what} has a lone surrogate`);
  // Names are kept forever, so they must not fill memory.
  if (name.length > LONGEST_NAME) {
    throw new TypeError(`${what} has ${name.length} characters, more than ${LONGEST_NAME}`);
  }
}

/** The routes of the methods that are served, with the receivers of their requests. */
export class ServedMethods<Receiver> {
  readonly #receivers: (Receiver | undefined)[] = [];
  readonly #free: number[] = [];

  add(receiver: Receiver): number {
    const route = this.#free.pop() ?? this.#receivers.length;
    if (route > LIMIT) throw new TtrpcError(`more than ${LIMIT} methods are served`, Code.ResourceExhausted);
    this.#receivers[route] = receiver;
    return route;
  }

  get(route: number): Receiver | undefined {
    return this.#receivers[route];
  }

  remove(route: number): void {
    this.#receivers[route] = undefined;
    this.#free.push(route);
  }
}
