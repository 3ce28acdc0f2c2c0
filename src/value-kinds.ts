import { types } from "node:util";

/**
 * Whether a value is a Uint8Array (a Buffer is one) of any realm: a program in a context of its own (`node:vm`, Jest)
 * has its own Uint8Array class. An object that merely has the prototype is not one.
 */
export const isBytes: (value: unknown) => value is Uint8Array = types.isUint8Array;

const lengthGetter = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), "length");

/**
 * The length of a Uint8Array of any realm; 0 if its buffer was detached, or shrank below where it begins. A subclass may
 * have a `length` of its own, which says nothing about its bytes.
 */
export const lengthOf = Function.prototype.call.bind(lengthGetter?.get as () => unknown) as (
  bytes: Uint8Array,
) => number;

/** Whether a Uint8Array has lost its bytes: its buffer was detached, or shrank below where it begins. */
export function isDetached(bytes: Uint8Array): boolean {
  if (lengthOf(bytes) > 0) return false;
  try {
    NOTHING.set(bytes);
    return false;
  } catch {
    return true;
  }
}

const NOTHING = new Uint8Array(0);

/** Checks what is to be bytes. Throws a TypeError if it is not a Uint8Array, or has lost its bytes. */
export function checkBytes(bytes: unknown, what: string): void {
  const problem = bytesProblem(bytes);
  if (problem !== undefined) throw new TypeError(`${what} ${problem}`);
}

/** What keeps a value from being sent as bytes, to follow its name; undefined if nothing does. */
export function bytesProblem(value: unknown): string | undefined {
  if (!isBytes(value)) return `must be a Uint8Array, not ${kindOf(value)}`;
  if (isDetached(value)) return "must not be detached or outside of its buffer";
  return undefined;
}

/** What kind of value it is, to complete "must be …, not". Safe for any value, even a revoked Proxy. */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (isRevoked(value)) return "a revoked Proxy";
  if (typeof value !== "object") return typeof value;
  if (Array.isArray(value)) return "an array";
  const tag = tagOf(value);
  return tag === "Object" ? "object" : tag;
}

/**
 * What it is instead of an instance of a class of this package, as {@link kindOf} says it. Two copies may be installed. The
 * class is given by its name, which a bundler that shortens names does not change.
 */
export function kindBut(value: unknown, className: string): string {
  try {
    const { constructor } = value as { readonly constructor?: unknown };
    if (typeof constructor === "function" && constructor.name === className) {
      return "one of another copy of this package";
    }
  } catch {
    // It is null, undefined, or an object that throws.
  }
  return kindOf(value);
}

/** Whether it is a revoked Proxy, which throws on almost every operation. */
export function isRevoked(value: unknown): boolean {
  try {
    Array.isArray(value);
    return false;
  } catch {
    return true;
  }
}

/** Whether it is an array. False for a revoked Proxy. */
export function isArray(value: unknown): value is readonly unknown[] {
  return !isRevoked(value) && Array.isArray(value);
}

/** Whether a value is an instance of a class. Never throws; `instanceof` does for a revoked Proxy. */
export function isInstance<T>(value: unknown, kind: abstract new (...parts: never) => T): value is T {
  try {
    return value instanceof kind;
  } catch {
    return false;
  }
}

/**
 * Whether it is an object that can hold named properties. A Promise, a Map or an array has none of the expected names,
 * and would pass for an object with nothing set.
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
    // A user-defined getter for the tag threw.
    return "Object";
  }
}

/** A value for an error's text, to complete "must be …, not": a primitive is shown as it is, an object by its kind. */
export function shown(value: unknown): string {
  if (typeof value === "object" || typeof value === "function") return kindOf(value);
  const text = typeof value === "string" && LOOKS_OTHER.test(value) ? JSON.stringify(value) : String(value);
  return shortened(text);
}

/** The beginning of a text, for an error's text: peers and users may give megabytes. */
export function shortened(text: string): string {
  return text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}…` : text;
}

/** A text that would pass for another value, or for nothing. */
const LOOKS_OTHER = /^\s*$|^(?:[-+]?(?:\.?\d.*|Infinity)|NaN|true|false|null|undefined)$/;

const LONGEST_SHOWN = 100;

/**
 * Whether an object has a property only because every object has it: from Object.prototype, its own realm's, to which old
 * libraries add.
 */
export function isOfEveryObject(object: object, name: string): boolean {
  let holder: object | null = object;
  while (holder !== null && !Object.hasOwn(holder, name)) holder = Object.getPrototypeOf(holder) as object;
  return holder !== null && holder !== object && isObjectPrototype(holder);
}

/** Whether it is the Object.prototype of some realm. */
function isObjectPrototype(object: object): boolean {
  if (object === Object.prototype) return true;
  if (Object.getPrototypeOf(object) !== null) return false;
  return OF_EVERY_OBJECT.every((name) => Object.hasOwn(object, name));
}

const OF_EVERY_OBJECT = ["hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString"];

/** The member of an object with a name, its own or its class's; undefined if it is only one that every object has. */
export function memberOf(object: object, name: string): unknown {
  return isOfEveryObject(object, name) ? undefined : (object as Record<string, unknown>)[name];
}

/** Whether it is a protobuf-es descriptor or registry. */
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

/** Checks that it is a descriptor. Throws a TypeError that names it. */
export function checkDescriptor(value: unknown, kind: "message" | "service", name: string): void {
  if (isDescriptor(value, kind)) return;
  throw new TypeError(`${name} must be a ${kind} descriptor of protobuf-es, not ${kindOf(value)}`);
}

/** Whether it is an Error, of whatever realm: in a test that Jest runs, Node's own errors are of another realm. */
export function isError(value: unknown): value is Error {
  return types.isNativeError(value) || value instanceof Error;
}

/** The text of a thrown value, whatever it is. */
export function textOf(reason: unknown): string {
  try {
    if (isError(reason)) return String(reason.message);
    // Some throw an object that is like an error.
    const { message } = Object(reason) as { readonly message?: unknown };
    return typeof message === "string" ? message : String(reason);
  } catch {
    // An object without a prototype, or with a getter or a toString that throws.
  }
  try {
    return Object.prototype.toString.call(reason);
  } catch {
    return kindOf(reason);
  }
}

/**
 * Whether a value can be the number of a descriptor, which is an int to the kernel. The addon and Node would take the
 * lowest 32 bits of a larger number, which may be another descriptor.
 */
export function isFileDescriptor(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 31;
}
