/** SQLite: Node's own, since Node 22.13, or better-sqlite3. */

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
  readonly DatabaseSync: new (path: string) => Database;
}

/** Opens a database, and creates it if it does not exist. */
export async function openDatabase(path: string): Promise<Database> {
  const own = process.getBuiltinModule("node:sqlite") as NodeSqlite | undefined;
  if (own !== undefined) return new own.DatabaseSync(path);
  const { default: BetterSqlite } = await import("better-sqlite3");
  return new BetterSqlite(path) as Database;
}
