import { setEntry } from "../codec/read.js";

/*
 * Entries of an adjustment. A runtime fails a container if a plugin sets the same entry twice, so the last change of an
 * entry takes the place of those before it. Only a removal stays beside the value that is set after it: together they
 * replace what another plugin has set.
 */

/** Adds an entry to a list, in place of those with these keys. */
export function putEntry<T>(list: T[], entry: T, keyOf: (entry: T) => string, keys: readonly string[]): void {
  for (let at = list.length - 1; at >= 0; at--) {
    if (keys.includes(keyOf(list[at] as T))) list.splice(at, 1);
  }
  list.push(entry);
}

/** Adds the marker that removes an entry to a record, in place of the entry. */
export function markRemoved<T>(record: Record<string, T>, marker: string, value: T): void {
  delete record[unmarked(marker)];
  setEntry(record, marker, value);
}

/** The key of an entry, whether it is set or removed. */
export function unmarked(key: string): string {
  return key.startsWith("-") ? key.slice(1) : key;
}
