import { isPlain, kindOf, shown } from "./value-kinds.js";

/**
 * Checks that options are an object with known names only, since a misspelt name would silently have no effect. An
 * unknown name is refused whatever its value, so that the mistake shows at once. Throws a TypeError that names it.
 *
 * @param owner - What the options belong to, for the error.
 * @param prefix - Precedes each name in the error, for nested options.
 */
export function checkOptions(owner: string, options: unknown, known: readonly string[], prefix = ""): void {
  if (options === undefined) return;
  if (!isPlain(options)) {
    const what = prefix === "" ? `the options of ${owner}` : prefix.slice(0, -1);
    throw new TypeError(`${what} must be an object, not ${kindOf(options)}`);
  }
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) throw unknownOption(owner, name, known, prefix);
  }
}

/** The error of an option that does not exist. */
export function unknownOption(owner: string, name: string, known: readonly string[], prefix = ""): TypeError {
  const hint = hintFor(name, known, prefix);
  return new TypeError(`${prefix}${shown(name)} is not an option of ${owner}; ${hint}`);
}

/** What to use in place of an unknown name: the known one that was probably meant, or any of them. */
export function hintFor(name: string, known: readonly string[], prefix = ""): string {
  const near = nearest(name, known);
  return near === undefined
    ? `it has ${known.map((other) => prefix + other).join(", ")}`
    : `did you mean ${prefix}${near}?`;
}

/** The known name that was probably meant. */
function nearest(name: string, known: readonly string[]): string | undefined {
  // A name from outside may have any length.
  if (name.length > 100) return undefined;
  const given = name.toLowerCase();
  let best: string | undefined;
  let least = Math.max(2, Math.floor(name.length * 0.4)) + 1;
  for (const other of known) {
    const distance = distanceBetween(given, other.toLowerCase());
    if (distance < least) [best, least] = [other, distance];
  }
  return best ?? known.find((other) => isPart(given, other.toLowerCase()));
}

function isPart(given: string, other: string): boolean {
  return given.length > 3 && (other.includes(given) || given.includes(other));
}

/** How many letters must be inserted, removed or replaced. */
function distanceBetween(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const change = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, change));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}

/** Checks a string. Throws a TypeError that names it. */
export function checkedString(value: unknown, name: string): string {
  if (typeof value !== "string") throw new TypeError(`${name} must be a string, not ${kindOf(value)}`);
  return value;
}

/** Checks a flag. Throws a TypeError that names it. */
export function checkedBoolean(value: unknown, name: string): boolean {
  if (typeof value !== "boolean") throw new TypeError(`${name} must be a boolean, not ${shown(value)}`);
  return value;
}

/**
 * Checks a number of milliseconds, which must be within a range. Throws a TypeError that names it.
 *
 * @param least - The least value, or `above 0`.
 */
export function checkedMs(
  value: unknown,
  name: string,
  least: number | "above 0",
  most = Number.POSITIVE_INFINITY,
): number {
  if (typeof value === "number" && (least === "above 0" ? value > 0 : value >= least) && value <= most)
    return value;
  const above = least === "above 0" ? " above 0" : `, ${least} or more`;
  const range = most === Number.POSITIVE_INFINITY ? above : ` from ${least} to ${most}`;
  throw new TypeError(`${name} must be a number of milliseconds${range}, not ${shown(value)}`);
}

/** Checks the options of a `close` method. Throws a TypeError that names what is wrong. */
export function closeOptions(options: { readonly graceMs?: number | undefined }): {
  readonly graceMs?: number | undefined;
} {
  checkOptions("close", options, ["graceMs"]);
  const { graceMs } = options;
  if (graceMs !== undefined) checkedMs(graceMs, "graceMs", 0);
  return { graceMs };
}

/** Node's longest timer, about 25 days; a longer one fires at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

const LARGEST_LIMIT = 2 ** 32 - 1;

/** Fills in the defaults of options that are left out or undefined. */
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

/** Fields to spread over defaults: one that is undefined counts as left out. */
export function definedFields<Fields extends object | undefined>(fields: Fields): Fields {
  const entries = Object.entries(fields ?? {}).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Fields;
}

/** Checks limits. Throws a TypeError that names the wrong one. */
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
