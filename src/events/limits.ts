/** Checks limits. Throws a TypeError that names the one that is wrong. */
export function checkLimits(
  limits: Readonly<Record<string, unknown>>,
  infinite: readonly string[] = [],
): void {
  for (const [name, value] of Object.entries(limits)) {
    if (value === Number.POSITIVE_INFINITY && infinite.includes(name)) continue;
    if (!Number.isInteger(value) || (value as number) < 1 || (value as number) > LARGEST_LIMIT) {
      throw new TypeError(`${name} must be an integer from 1 to ${LARGEST_LIMIT}, not ${String(value)}`);
    }
  }
}

const LARGEST_LIMIT = 2 ** 32 - 1;
