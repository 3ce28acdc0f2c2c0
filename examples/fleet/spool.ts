import { type Database, isDiskFull, openDatabase, type Value } from "../events/database.js";
import type { Record } from "./record.js";

/** A record in the spool, under a number that only grows. */
export interface Spooled extends Record {
  readonly seq: number;
}

export interface Filter {
  readonly namespace?: string | undefined;
  readonly topic?: string | undefined;
  readonly container?: string | undefined;
  readonly since?: Date | undefined;
  readonly limit?: number | undefined;
}

export type WhenFull = "wait" | "drop" | "forget";

interface Counted {
  events: number;
  unpublished: number;
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    namespace TEXT NOT NULL,
    topic TEXT NOT NULL,
    atMs INTEGER NOT NULL,
    container TEXT,
    envelope BLOB NOT NULL
  );
  CREATE INDEX IF NOT EXISTS events_container ON events (container, seq) WHERE container IS NOT NULL;
  CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
  INSERT OR IGNORE INTO state VALUES ('published', 0), ('position', -1), ('dropped', 0);
  CREATE TABLE IF NOT EXISTS host (name TEXT NOT NULL);
`;

/** How many records one deletion removes. */
const CHUNK = 2000;

/**
 * The events of one host in SQLite, until they are published, and longer while there is room. When it is full, the
 * oldest published events are deleted. When all that is left is unpublished, `whenFull` decides: `"wait"` refuses new
 * events, `"drop"` deletes the oldest and counts them; `"forget"` is for a host that publishes nothing.
 */
export class Spool {
  readonly #database: Database;
  readonly #maxBytes: number;
  readonly #whenFull: WhenFull;
  readonly #prepared = new Map<string, ReturnType<Database["prepare"]>>();
  #published: number;
  #position: number;

  private constructor(database: Database, maxBytes: number, whenFull: WhenFull) {
    this.#database = database;
    this.#maxBytes = maxBytes;
    this.#whenFull = whenFull;
    this.#published = this.#state("published");
    this.#position = this.#state("position");
  }

  /** Opens a spool, or makes one. Throws an error that names the file if it is something else. */
  static async open(path: string, maxBytes = 256 << 20, whenFull: WhenFull = "wait"): Promise<Spool> {
    return opened(path, false, (database) => {
      // A commit is on the disk before an event is acknowledged; a reader does not stop the writer.
      database.exec("PRAGMA journal_mode = WAL");
      database.exec("PRAGMA synchronous = FULL");
      database.exec("PRAGMA busy_timeout = 5000");
      database.exec(`PRAGMA journal_size_limit = ${8 << 20}`);
      database.exec(SCHEMA);
      return new Spool(database, maxBytes, whenFull);
    });
  }

  /** Opens a spool to query it, while its collector runs or not. Throws an error that names the file if it is no spool. */
  static async read(path: string): Promise<Spool> {
    return opened(path, true, (database) => {
      database.exec("PRAGMA busy_timeout = 5000");
      return new Spool(database, 0, "wait");
    });
  }

  close(): void {
    this.#database.close();
  }

  /** The host whose events these are, as its collector names it. */
  get host(): string {
    return (this.#statement("SELECT name FROM host").get() as { name: string } | undefined)?.name ?? "";
  }

  set host(name: string) {
    // A collector that begins again writes nothing, for which a full disk has no room.
    if (this.host === name) return;
    this.#transaction(() => {
      this.#statement("DELETE FROM host").run();
      this.#statement("INSERT INTO host VALUES (?)").run(name);
    });
  }

  /**
   * Writes records in one transaction. Returns false, and writes nothing, if the spool is full and waits, or its disk is
   * full. A record that is there already is left out.
   */
  append(records: readonly Record[]): boolean {
    try {
      return this.#makeRoom() && this.#insert(records);
    } catch (error) {
      // A collector that ended would take the shims' way to containerd along.
      if (isDiskFull(error)) return false;
      throw error;
    }
  }

  #insert(records: readonly Record[]): true {
    const insert = this.#statement(
      "INSERT OR IGNORE INTO events (id, namespace, topic, atMs, container, envelope) VALUES (?, ?, ?, ?, ?, ?)",
    );
    this.#transaction(() => {
      for (const { id, namespace, topic, atMs, container, envelope } of records)
        insert.run(id, namespace, topic, atMs, container, envelope);
    });
    return true;
  }

  /** Bytes in use, indexes included. The file is no larger than this ever was, because SQLite uses free pages again. */
  get bytes(): number {
    const pragma = (name: string) =>
      Object.values(this.#statement(`PRAGMA ${name}`).get() as object)[0] as number;
    return (pragma("page_count") - pragma("freelist_count")) * pragma("page_size");
  }

  /** How much it holds; `dropped` events were never published, because it was full. */
  status(): { bytes: number; events: number; unpublished: number; dropped: number } {
    const count = "SELECT count(*) AS events, coalesce(sum(seq > ?), 0) AS unpublished FROM events";
    const { events, unpublished } = this.#statement(count).get(this.#published) as Counted;
    return { bytes: this.bytes, events, unpublished, dropped: this.#state("dropped") };
  }

  /** The last that is published. */
  get published(): number {
    return this.#published;
  }

  /** The stream's number of a message before which all of this host's are of published records; -1 if it is unknown. */
  get position(): number {
    return this.#position;
  }

  /** The first records after a number. */
  after(seq: number, limit: number): Spooled[] {
    return this.#statement("SELECT * FROM events WHERE seq > ? ORDER BY seq LIMIT ?").all(
      seq,
      limit,
    ) as Spooled[];
  }

  /** The number of a record, if it is here. */
  find(id: string): number | undefined {
    return (this.#statement("SELECT seq FROM events WHERE id = ?").get(id) as { seq: number } | undefined)
      ?.seq;
  }

  /**
   * Remembers that all records up to this one are published, and a {@link position}. If the process is killed first, they
   * are found again.
   */
  markPublished(seq: number, position: number): void {
    if (seq <= this.#published && position === this.#position) return;
    this.#published = Math.max(this.#published, seq);
    this.#position = position;
    this.#statement(
      "UPDATE state SET value = iif(name = 'published', ?, ?) WHERE name IN ('published', 'position')",
    ).run(this.#published, position);
  }

  /** The newest records that match, oldest first. */
  query({ namespace, topic, container, since, limit = 100 }: Filter): Spooled[] {
    const conditions: [string, Value | undefined][] = [
      ["namespace = ?", namespace],
      ["instr(topic, ?) = 1", topic],
      ["container = ?", container],
      ["atMs >= ?", since?.getTime()],
    ];
    const used = conditions.filter(([, value]) => value !== undefined) as [string, Value][];
    const where = used.length === 0 ? "" : `WHERE ${used.map(([condition]) => condition).join(" AND ")}`;
    const sql = `SELECT * FROM events ${where} ORDER BY seq DESC LIMIT ?`;
    return (this.#statement(sql).all(...used.map(([, value]) => value), limit) as Spooled[]).toReversed();
  }

  #makeRoom(): boolean {
    while (this.bytes >= this.#maxBytes) {
      const first = this.#statement("SELECT min(seq) AS seq FROM events").get() as { seq: number | null };
      if (first.seq === null) return true;
      const isPublished = first.seq <= this.#published;
      if (!isPublished && this.#whenFull === "wait") return false;
      const end = isPublished ? Math.min(first.seq + CHUNK, this.#published + 1) : first.seq + CHUNK;
      this.#transaction(() => {
        const { changes } = this.#statement("DELETE FROM events WHERE seq < ?").run(end) as {
          changes: number;
        };
        if (!isPublished && this.#whenFull === "drop")
          this.#statement("UPDATE state SET value = value + ? WHERE name = 'dropped'").run(changes);
      });
    }
    return true;
  }

  #transaction(action: () => void): void {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      action();
      this.#database.exec("COMMIT");
    } catch (error) {
      try {
        this.#database.exec("ROLLBACK");
      } catch {
        // SQLite has rolled back by itself, as it does when the disk is full.
      }
      throw error;
    }
  }

  #state(name: string): number {
    const row = this.#statement("SELECT value FROM state WHERE name = ?").get(name);
    // A spool that is only read may be of a collector that knew no position.
    return (row as { value: number } | undefined)?.value ?? -1;
  }

  #statement(sql: string): ReturnType<Database["prepare"]> {
    let statement = this.#prepared.get(sql);
    if (statement === undefined) this.#prepared.set(sql, (statement = this.#database.prepare(sql)));
    return statement;
  }
}

/** Opens a database for a spool; closes it again, and names it, if that fails. */
async function opened(path: string, readOnly: boolean, use: (database: Database) => Spool): Promise<Spool> {
  let database: Database | undefined;
  try {
    database = await openDatabase(path, readOnly);
    return use(database);
  } catch (cause) {
    database?.close();
    throw new Error(`--spool ${path}: ${(cause as Error).message}`, { cause });
  }
}
