import { shown } from "./values.js";

/** The longest timer of Node, some 25 days; it fires a longer one at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

const LARGEST_LIMIT = 2 ** 32 - 1;

/** The options that have defaults, with those where nothing, or undefined, is given. */
export function withDefaults<Options extends Readonly<Record<string, unknown>>>(
  defaults: Options,
  given: { readonly [Name in keyof Options]?: unknown },
): Options {
  const entries = Object.entries(defaults).map(([name, value]) => [
    name,
    given[name] === undefined ? value : given[name],
  ]);
  return Object.fromEntries(entries) as Options;
}

/** Checks limits. Throws a TypeError that names the one that is wrong. */
export function checkLimits(
  limits: Readonly<Record<string, unknown>>,
  infinite: readonly string[] = [],
): void {
  for (const [name, value] of Object.entries(limits)) {
    if (value === Number.POSITIVE_INFINITY && infinite.includes(name)) continue;
    if (!Number.isInteger(value) || (value as number) < 1 || (value as number) > LARGEST_LIMIT) {
      throw new TypeError(`${name} must be an integer from 1 to ${LARGEST_LIMIT}, not ${shown(value)}`);
    }
  }
}
