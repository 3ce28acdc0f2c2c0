/** Numbers for people. */

import type { Spread } from "./statistics.js";

const NOT_MEASURED = "not measured";

/** A whole number with its thousands separated, or a small number with three digits. */
export function number(value: number): string {
  if (value < 100) return String(Number(value.toPrecision(3)));
  // A space that does not break.
  return Math.round(value)
    .toString()
    .replaceAll(/\B(?=(\d{3})+$)/g, "\u00a0");
}

/** A figure, rounded to its precision. */
export function figure(spread: Spread | undefined): string {
  return spread === undefined ? "" : number(Number(spread.median.toPrecision(3)));
}

/** A ratio and its range. */
export function ratio(spread: Spread | undefined): string {
  if (spread === undefined) return "";
  const { median, min, max } = spread;
  return `**${median.toFixed(2)}** (${min.toFixed(2)} to ${max.toFixed(2)})`;
}

/** A value with its range and unit. */
export function ranged(spread: Spread | undefined, unit: string): string {
  if (spread === undefined) return NOT_MEASURED;
  const { median, min, max } = spread;
  const digits = unit === "" ? (value: number) => value.toFixed(2) : number;
  return `${digits(median)}${unit} (${digits(min)} to ${digits(max)})`;
}

/** MiB of bytes. */
export function mebibytes(size: number): string {
  return `${number(size / (1 << 20))} MiB`;
}
