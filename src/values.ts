import { types } from "node:util";

/**
 * Whether a value is a Uint8Array, a Buffer among them, of whatever realm: a program that runs in a context of its own
 * (`node:vm`, Jest) has a class of its own by that name. What only has its prototype is none.
 */
export const isBytes: (value: unknown) => value is Uint8Array = types.isUint8Array;

/** What a value is, to stand behind "must be …, not". Safe for whatever there is, a revoked Proxy included. */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (typeof value !== "object") return typeof value;
  if (isRevoked(value)) return "a revoked Proxy";
  if (Array.isArray(value)) return "an array";
  const tag = tagOf(value);
  return tag === "Object" ? "object" : tag;
}

/** Whether it is a revoked Proxy, of which nothing can be asked without an error of JavaScript's own. */
export function isRevoked(value: unknown): boolean {
  try {
    Array.isArray(value);
    return false;
  } catch {
    return true;
  }
}

/** Whether it is an array, which a revoked Proxy is not. */
export function isArray(value: unknown): value is readonly unknown[] {
  return !isRevoked(value) && Array.isArray(value);
}

/** Whether a value is an instance of a class; never throws, as the operator does for a revoked Proxy. */
export function isInstance<T>(value: unknown, kind: abstract new (...parts: never) => T): value is T {
  try {
    return value instanceof kind;
  } catch {
    return false;
  }
}

/**
 * Whether it is an object whose properties say something. A Promise, a Map or an array has none of the names that are
 * looked for, and would be taken for an object that has none set.
 */
export function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || isRevoked(value)) return false;
  const tag = tagOf(value);
  return tag === "Object" || tag === "Module";
}

function tagOf(value: object): string {
  try {
    return Object.prototype.toString.call(value).slice("[object ".length, -1);
  } catch {
    // A getter of the user's for the tag.
    return "Object";
  }
}

/** A value in an error's text, to stand behind "must be …, not": one that is no object as it is. */
export function shown(value: unknown): string {
  if (typeof value === "object" || typeof value === "function") return kindOf(value);
  const text = String(value);
  return text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}…` : text;
}

const LONGEST_SHOWN = 100;

/** Whether it is a descriptor, or a registry, of protobuf-es. */
export function isDescriptor(value: unknown, kind: "message" | "service" | "registry"): boolean {
  try {
    const { kind: given, fields, methods, getMessage, typeName } = value as Record<string, unknown>;
    if (given !== kind) return false;
    if (kind === "registry") return typeof getMessage === "function";
    return typeof typeName === "string" && Array.isArray(kind === "message" ? fields : methods);
  } catch {
    return false;
  }
}

/** A thrown value in words, whatever it is. */
export function textOf(reason: unknown): string {
  try {
    return String(reason instanceof Error ? reason.message : reason);
  } catch {
    // An object without a prototype, or with a getter or a toString that throws.
  }
  try {
    return Object.prototype.toString.call(reason);
  } catch {
    return kindOf(reason);
  }
}
