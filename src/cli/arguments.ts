import { InvalidArgumentError } from "commander";
import { LONGEST_TIMER_MS } from "../options.js";

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Parses `500ms`, `2s`, `1.5m`, `1h`, or a number of seconds, into milliseconds above 0. */
export function duration(text: string): number {
  const ms = durationOrNone(text);
  if (ms === 0) throw new InvalidArgumentError("It must be above 0, such as 500ms, 2s or 5m.");
  return ms;
}

/** As {@link duration}, or 0. */
export function durationOrNone(text: string): number {
  const [, number, unit = "s"] = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text) ?? [];
  if (number === undefined) {
    throw new InvalidArgumentError("A duration is a number with a unit, such as 500ms, 2s or 5m.");
  }
  const ms = Number(number) * (UNITS[unit] ?? 1);
  if (ms > LONGEST_TIMER_MS) {
    throw new InvalidArgumentError(`It must be at most ${LONGEST_TIMER_MS}ms, which are some 24 days.`);
  }
  return ms;
}

/** Takes a text that is not empty. A script may have put a variable there that it has not set. */
export function filled(text: string): string {
  if (text === "") throw new InvalidArgumentError("It must not be empty.");
  return text;
}

/** Parses a whole number, 1 or more. */
export function count(text: string): number {
  const number = Number(text);
  if (!/^\d+$/.test(text) || number < 1 || !Number.isSafeInteger(number)) {
    throw new InvalidArgumentError("It must be a whole number, 1 or more.");
  }
  return number;
}

/** Parses a whole number from 1 to a million, of things that exist at the same time. */
export function upToAMillion(text: string): number {
  const number = count(text);
  if (number > 1_000_000) throw new InvalidArgumentError("It must be at most 1000000.");
  return number;
}

/** Adds `key=value` to the metadata given so far; a key may be repeated. */
export function metadata(text: string, earlier: Record<string, string[]> = {}): Record<string, string[]> {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("Metadata must be key=value.");
  const key = text.slice(0, at).toLowerCase();
  const values = Object.hasOwn(earlier, key) ? (earlier[key] ?? []) : [];
  return { ...earlier, [key]: [...values, text.slice(at + 1)] };
}

/** Collects an option that may be given several times. */
export function repeated(text: string, earlier: readonly string[] = []): string[] {
  return [...earlier, text];
}
