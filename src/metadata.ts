import { isArray, isPlain, kindOf } from "./value-kinds.js";

/** The metadata of a request as a handler gets it: lower-case keys, each with its values in order. */
export type Metadata = Record<string, string[]>;

/**
 * The metadata of a call: one or more values for each key. Keys are sent in lower case, as Go does; keys that differ
 * only by case are the same key. A call may have up to 1024 values.
 */
export type MetadataInit = Readonly<Record<string, string | readonly string[]>>;

/** The most metadata values, of all keys together, that a call may have. A server refuses more, too. */
const METADATA_LIMIT = 1024;

/** The pairs in the order in which they are sent. Throws a TypeError that names the wrong key. */
export function metadataPairs(metadata: MetadataInit): [key: string, value: string][] {
  if (!isPlain(metadata)) {
    throw new TypeError(
      `metadata must be an object of strings or arrays of strings, not ${kindOf(metadata)}`,
    );
  }
  const pairs: [string, string][] = [];
  for (const [name, values] of Object.entries(metadata)) {
    const key = name.toLowerCase();
    if (key === "") throw new TypeError("metadata has an empty key");
    if (!key.isWellFormed())
      throw new TypeError(`the metadata key ${JSON.stringify(name)} has a lone surrogate`);
    if (typeof values === "string") {
      pairs.push([key, checked(values, name)]);
    } else if (isArray(values)) {
      for (let index = 0; index < values.length; index++) {
        pairs.push([key, checked(values[index], name, index)]);
      }
    } else {
      throw new TypeError(
        `metadata[${JSON.stringify(name)}] must be a string or an array of strings, not ${kindOf(values)}`,
      );
    }
  }
  if (pairs.length > METADATA_LIMIT) {
    throw new TypeError(`metadata has ${pairs.length} values, more than ${METADATA_LIMIT}`);
  }
  return pairs;
}

/** Adds a value to a key. Any key will do, "__proto__" and "constructor" included. */
export function addMetadata(metadata: Metadata, key: string, value: string): void {
  if (Object.hasOwn(metadata, key)) metadata[key]?.push(value);
  else setMetadata(metadata, key, value);
}

/** Replaces the values of a key with one value. */
export function setMetadata(metadata: Metadata, key: string, value: string): void {
  Object.defineProperty(metadata, key, {
    value: [value],
    enumerable: true,
    configurable: true,
    writable: true,
  });
}

function checked(value: unknown, name: string, index?: number): string {
  const where = () => `metadata[${JSON.stringify(name)}]${index === undefined ? "" : `[${index}]`}`;
  if (typeof value !== "string") throw new TypeError(`${where()} must be a string, not ${kindOf(value)}`);
  if (!value.isWellFormed()) throw new TypeError(`${where()} has a lone surrogate`);
  return value;
}
