/** The names that compiled code may use, with their values. */
export class Scope {
  readonly #names = new Map<unknown, string>();

  /** Gives a value a name. */
  name(value: unknown): string {
    let name = this.#names.get(value);
    if (name === undefined) this.#names.set(value, (name = `k${this.#names.size}`));
    return name;
  }

  /** Runs code as a function's body, which may use the names. */
  run<T>(code: string): T {
    // The code consists of this folder's own text and of numbers; quote() keeps a descriptor's names from becoming
    // code.
    const make = new Function(...this.#names.values(), `"use strict";${code}`) as (...values: unknown[]) => T;
    return make(...this.#names.keys());
  }
}

/** A text as code. */
export function quote(text: string): string {
  return JSON.stringify(text);
}

let allowed: boolean | undefined;

/** Whether code may be generated from strings, which --disallow-code-generation-from-strings forbids. */
export function mayCompile(): boolean {
  if (allowed === undefined) {
    try {
      allowed = new Scope().run<boolean>("return true");
    } catch {
      allowed = false;
    }
  }
  return allowed;
}
