/** SQLite: Node's own, since Node 22.13, or better-sqlite3. */

/** The part of either that this example uses. */
export interface Database {
  exec(sql: string): unknown;
  prepare(sql: string): {
    run(...values: (string | bigint | Uint8Array)[]): unknown;
    get(): unknown;
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
