/** SQLite: Node's own, since Node 22.13, or better-sqlite3. */

import { closeSync, openSync } from "node:fs";

/** What a column may be. */
export type Value = string | number | bigint | Uint8Array | null;

/** The part of either that the examples use. */
export interface Database {
  exec(sql: string): unknown;
  prepare(sql: string): {
    run(...values: Value[]): unknown;
    get(...values: Value[]): unknown;
    all(...values: Value[]): unknown[];
  };
  close(): unknown;
}

interface NodeSqlite {
  readonly DatabaseSync: new (path: string, options: { readOnly: boolean }) => Database;
}

/** SQLite's number for a disk that has no room. */
const SQLITE_FULL = 13;

/** Whether a statement failed because its disk has no room: it has had no effect, and may be tried again. */
export function isDiskFull(error: unknown): boolean {
  const { code, errcode } = error as { code?: unknown; errcode?: unknown };
  return code === "SQLITE_FULL" || errcode === SQLITE_FULL;
}

/**
 * Opens a database, and creates it if it does not exist, unless it is only to be read. What is created is its owner's alone, as
 * containerd's socket is from which the events come; SQLite gives the files beside it the same permissions.
 */
export async function openDatabase(path: string, readOnly = false): Promise<Database> {
  if (!readOnly && path !== ":memory:") closeSync(openSync(path, "a", 0o600));
  const own = process.getBuiltinModule("node:sqlite") as NodeSqlite | undefined;
  if (own !== undefined) return new own.DatabaseSync(path, { readOnly });
  const { default: BetterSqlite } = await import("better-sqlite3");
  return new BetterSqlite(path, { readonly: readOnly }) as Database;
}
