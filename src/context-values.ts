import { inspect, type InspectOptions } from "node:util";
import { checkedString, checkOptions } from "./options.js";
import { isInstance, isRevoked, kindBut, kindOf } from "./value-kinds.js";

/**
 * Names a value that travels with a call through interceptors and handlers, and never over the wire. Made by
 * {@link createContextKey}.
 */
export interface ContextKey<T> {
  /** Tells keys apart; its description is for debugging. */
  readonly id: symbol;
  /** What `get` returns while nothing is set. */
  readonly defaultValue: T;
}

/** Options of {@link createContextKey}. */
export interface ContextKeyOptions {
  /** A name for the key, shown when a program prints its values. */
  readonly description?: string | undefined;
}

/**
 * Makes a key of {@link ContextValues}. Each call makes a new key, so export it where interceptors and handlers find it.
 *
 * ```ts
 * export const userKey = createContextKey<string | undefined>(undefined, { description: "user" });
 * ```
 *
 * Throws a TypeError if an option is wrong.
 *
 * @param defaultValue - What `get` returns while nothing is set.
 */
export function createContextKey<T>(defaultValue: T, options: ContextKeyOptions = {}): ContextKey<T> {
  checkOptions("createContextKey", options, ["description"]);
  const { description } = options;
  if (description !== undefined) checkedString(description, "description");
  return { id: Symbol(description), defaultValue };
}

/**
 * The values of one call, by typed keys. Interceptors set them; handlers and other interceptors read them. They are never
 * sent. The methods throw a TypeError if the key was not made by {@link createContextKey}.
 */
export class ContextValues {
  readonly #values = new Map<symbol, unknown>();

  /** The value of a key, or the key's default. */
  get<T>(key: ContextKey<T>): T {
    const id = idOf(key);
    return this.#values.has(id) ? (this.#values.get(id) as T) : key.defaultValue;
  }

  /** Sets the value of a key. */
  set<T>(key: ContextKey<T>, value: NoInfer<T>): this {
    this.#values.set(idOf(key), value);
    return this;
  }

  /** Removes the value of a key, which then has its default again. */
  delete(key: ContextKey<unknown>): this {
    this.#values.delete(idOf(key));
    return this;
  }

  /** @internal */
  [inspect.custom](_depth: number, options: InspectOptions): string {
    return `ContextValues ${inspect(Object.fromEntries(this.#values), options)}`;
  }
}

/**
 * Makes an empty set of values, for the option `contextValues` of a call.
 *
 * ```ts
 * await task.state({ id }, { contextValues: createContextValues().set(userKey, "alice") });
 * ```
 */
export function createContextValues(): ContextValues {
  return new ContextValues();
}

function idOf(key: ContextKey<unknown>): symbol {
  const id: unknown = isRevoked(key) ? undefined : (key as ContextKey<unknown> | null | undefined)?.id;
  if (typeof id !== "symbol")
    throw new TypeError(`key must be one that createContextKey() made, not ${kindOf(key)}`);
  return id;
}

/** Checks the values of a call. Throws a TypeError if they are something else. */
export function checkContextValues(values: ContextValues | undefined): void {
  if (values === undefined || isInstance(values, ContextValues)) return;
  throw new TypeError(
    `contextValues must be made by createContextValues(), not ${kindBut(values, "ContextValues")}`,
  );
}
