/**
 * Writes each event to a SQLite database exactly once, however this program or the publisher ends:
 * `npx tsx examples/events/sqlite.ts --database events.db [--listen ADDRESS] [--containerd ADDRESS]`.
 *
 * An event is acknowledged when the loop asks for the next batch, which is after its transaction. An event that was
 * written but not acknowledged is sent again; all its columns are the same then, so it is not inserted twice.
 */

import { parseArgs } from "node:util";
import { eventsFromArguments } from "./address.js";
import { openDatabase } from "./database.js";

const { values } = parseArgs({
  options: { database: { type: "string", default: "events.db" } },
  strict: false,
});
const database = await openDatabase(String(values.database));
// Events are on the disk when their transaction ends.
database.exec("PRAGMA synchronous = FULL");
database.exec(`
  CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    topic TEXT NOT NULL,
    timestamp_ns INTEGER NOT NULL,
    type TEXT NOT NULL,
    value BLOB NOT NULL,
    UNIQUE (namespace, topic, timestamp_ns, type, value)
  )`);
const insert = database.prepare(
  "INSERT OR IGNORE INTO events (namespace, topic, timestamp_ns, type, value) VALUES (?, ?, ?, ?, ?)",
);

for await (const batch of eventsFromArguments({ acknowledge: "done" }).batches()) {
  // An error ends the program, and SQLite rolls back the open transaction.
  database.exec("BEGIN");
  for (const { namespace, topic, timestamp, type, any } of batch) {
    // A timestamp that is no date may not fit; the event's own bytes still tell it from others.
    const nanoseconds = BigInt.asIntN(64, timestamp.seconds * 1_000_000_000n + BigInt(timestamp.nanos));
    insert.run(namespace, topic, nanoseconds, type, any.value);
  }
  database.exec("COMMIT");
}
database.close();
