/** SQLite: Node's own, which came with Node 22.13, or better-sqlite3. */

/** What this example uses of either. */
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

/** Opens a database, which is made if it is not there. */
export async function openDatabase(path: string): Promise<Database> {
  const own = process.getBuiltinModule("node:sqlite") as NodeSqlite | undefined;
  if (own !== undefined) return new own.DatabaseSync(path);
  const { default: BetterSqlite } = await import("better-sqlite3");
  return new BetterSqlite(path) as Database;
}
