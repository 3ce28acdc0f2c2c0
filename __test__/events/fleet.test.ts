import { existsSync, statSync, writeFileSync } from "node:fs";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { packAny } from "containerd-shim-protos";
import { ContainerCreateSchema, ContainerCreate_RuntimeSchema } from "containerd-shim-protos/events";
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import type * as Databases from "../../examples/events/database.js";
import { openDatabase } from "../../examples/events/database.js";
import { spread } from "../../examples/fleet/bridge.js";
import { run as query } from "../../examples/fleet/query.js";
import { jsonOf, recordOf, shownOf } from "../../examples/fleet/record.js";
import { Spool } from "../../examples/fleet/spool.js";
import { printable, Table } from "../../examples/fleet/table.js";
import { temporaryPath } from "../helpers/temp.js";

/** The most pages of a database that is opened while this is set: its disk has no room for more. */
let room: number | undefined;

vi.mock("../../examples/events/database.js", async (importOriginal) => {
  const original = await importOriginal<typeof Databases>();
  const opened: typeof openDatabase = async (...args) => {
    const database = await original.openDatabase(...args);
    if (room !== undefined) database.exec(`PRAGMA max_page_count = ${room}`);
    return database;
  };
  return { ...original, openDatabase: opened };
});

afterEach(() => {
  room = undefined;
  vi.restoreAllMocks();
});

const AT = timestampFromMs(1_700_000_000_000);
const AT_TEXT = "2023-11-14T22:13:20.000Z";
/** An event with a message that has bytes. */
const any = packAny(ContainerCreateSchema, {
  id: "web",
  runtime: create(ContainerCreate_RuntimeSchema, {
    name: "runc",
    options: { typeUrl: "x", value: new Uint8Array([1, 2, 3]) },
  }),
});
const event = { namespace: "default", topic: "/containers/create", timestamp: AT, any, message: undefined };

/** The first row of a table that was drawn. */
function rowIn([rows]: unknown[] = []): unknown {
  return (rows as unknown[])[0];
}

describe("the table of a fleet", () => {
  it("shows the pid and the exit code of a container, not those of an exec in it", async () => {
    const drawn = vi.spyOn(console, "table").mockImplementation(() => undefined);
    const table = new Table();
    const base = { host: "node-1", at: "2026-01-01T00:00:00.000Z", namespace: "default" };
    const add = (topic: string, message: object) =>
      table.add({ ...base, topic, message: { containerId: "web", ...message } });
    add("/tasks/start", { pid: 100 });
    add("/tasks/exec-started", { execId: "e1", pid: 200 });
    add("/tasks/exit", { id: "e1", pid: 200, exitStatus: 7 });
    await vi.waitFor(() => expect(drawn).toHaveBeenCalled());
    const row = rowIn(drawn.mock.lastCall);
    expect(row).toMatchObject({ container: "web", pid: 100 });
    expect(row).not.toHaveProperty("exit");
    drawn.mockClear();
    add("/tasks/exit", { id: "web", pid: 100, exitStatus: 3 });
    await vi.waitFor(() => expect(drawn).toHaveBeenCalled());
    expect(rowIn(drawn.mock.lastCall)).toMatchObject({ pid: 100, exit: 3 });
    drawn.mockClear();
    // The id of a deletion may be left out, which means the container.
    add("/tasks/delete", { id: "", pid: 100, exitStatus: 4 });
    await vi.waitFor(() => expect(drawn).toHaveBeenCalled());
    expect(rowIn(drawn.mock.lastCall)).toMatchObject({ pid: 100, exit: 4 });
  });
});

describe("the hosts of a fleet", () => {
  it("do not come back to NATS at once", () => {
    const delays = Array.from({ length: 1000 }, () => Math.round(spread(2000)));
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(1500);
    expect(Math.max(...delays)).toBeLessThanOrEqual(2500);
    expect(new Set(delays).size).toBeGreaterThan(300);
  });
});

describe("the spool of a fleet", () => {
  it("is its owner's alone, with the files beside it", async () => {
    const before = process.umask(0o022);
    onTestFinished(() => void process.umask(before));
    const path = temporaryPath(".db");
    const spool = await Spool.open(path);
    expect(spool.append([recordOf("node-1", event)])).toBe(true);
    const modes = ["", "-wal", "-shm"].map((end) => statSync(`${path}${end}`).mode & 0o777);
    expect(modes).toEqual([0o600, 0o600, 0o600]);
    spool.close();
  });

  it("reports what SQLite says when SQLite has rolled back by itself, and goes on", async () => {
    const path = temporaryPath(".db");
    const spool = await Spool.open(path);
    const other = await openDatabase(path);
    // As a disk does that is full.
    other.exec(
      "CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END",
    );
    expect(() => spool.append([recordOf("node-1", event)])).toThrow("the disk is full");
    other.exec("DROP TRIGGER full");
    other.close();
    expect(spool.append([recordOf("node-1", event)])).toBe(true);
    spool.close();
  });
});

describe("the spool of a fleet on a full disk", () => {
  it("takes nothing, as a full spool does, and the collector does not end", async () => {
    const path = temporaryPath(".db");
    room = 20;
    const spool = await Spool.open(path);
    const records = Array.from({ length: 100 }, (_, index) => {
      return recordOf("node-1", { ...event, any: { ...any, value: new Uint8Array(1000).fill(index) } });
    });
    expect(spool.append(records)).toBe(false);
    expect(spool.status().events).toBe(0);
    expect(spool.append(records.slice(0, 1))).toBe(true);
    spool.host = "node-1";
    while (spool.append([records.shift() ?? recordOf("node-1", event)])) if (records.length === 0) break;
    spool.close();
    // A collector that begins again.
    const again = await Spool.open(path);
    again.host = "node-1";
    expect(again.status().events).toBeGreaterThan(0);
    again.close();
  });
});

describe("a file that is no spool", () => {
  it("is named by the error of whoever opens it", async () => {
    const path = temporaryPath(".db");
    writeFileSync(path, "nothing that SQLite knows".repeat(100));
    for (const opened of [Spool.open(path), Spool.read(path)])
      await expect(opened).rejects.toThrow(`--spool ${path}: file is not a database`);
  });
});

describe("an event that nobody can read", () => {
  const timestamp = (seconds: bigint, nanos = 0) => ({ ...AT, seconds, nanos });
  it.each([
    ["a time after all dates", { timestamp: timestamp(10n ** 14n) }, "+275760-09-13T00:00:00.000Z"],
    ["a time before all dates", { timestamp: timestamp(-(2n ** 63n)) }, "-271821-04-20T00:00:00.000Z"],
    ["a message that does not decode", { any: { ...any, value: new Uint8Array([255]) } }, AT_TEXT],
  ])("is kept and shown like any other: %s", async (_, wrong, at) => {
    const spool = await Spool.open(temporaryPath(".db"));
    spool.append([recordOf("node-1", { ...event, ...wrong }), recordOf("node-1", event)]);
    const shown = spool.query({}).map(({ envelope }) => JSON.parse(jsonOf(shownOf("node-1", envelope))));
    expect(shown).toMatchObject([
      { at, topic: event.topic },
      { at: AT_TEXT, message: { id: "web" } },
    ]);
    expect(Number.isSafeInteger(spool.query({})[0]?.atMs)).toBe(true);
    spool.close();
  });

  it("cannot act on a terminal", () => {
    expect(printable("a\u001b[2Jb\nc\u009bd")).toBe("a\ufffd[2Jb\ufffdc\ufffdd");
  });
});

describe("the JSON of a fleet's event", () => {
  it("has base64 for bytes, whatever class of array a database returns", () => {
    const { envelope } = recordOf("node-1", event);
    const expected = JSON.parse(jsonOf(shownOf("node-1", envelope))) as object;
    expect(JSON.stringify(expected)).toContain('"AQID"');
    expect(JSON.parse(jsonOf(shownOf("node-1", Buffer.from(envelope))))).toEqual(expected);
  });
});

describe("a query of a spool", () => {
  /** What it prints. */
  async function ask(...args: string[]): Promise<unknown[]> {
    const printed = vi.spyOn(console, "log").mockImplementation(() => undefined);
    await query(args);
    const lines = printed.mock.calls.map(([line]) => JSON.parse(String(line)) as unknown);
    printed.mockClear();
    return lines;
  }

  it("names the host that its collector was given", async () => {
    const path = temporaryPath(".db");
    const spool = await Spool.open(path);
    spool.host = "007";
    spool.append([recordOf("007", event)]);
    // While the collector runs.
    expect(await ask("--spool", path)).toEqual([expect.objectContaining({ host: "007" }) as unknown]);
    spool.close();
    expect(await ask("--spool", path, "--status")).toMatchObject([{ events: 1 }]);
  });

  it("creates no spool, and says which file is none", async () => {
    const path = temporaryPath(".db");
    await expect(ask("--spool", path)).rejects.toThrow(`--spool ${path}: `);
    expect(existsSync(path)).toBe(false);
  });

  it("says which number of events is none", async () => {
    for (const limit of ["abc", "0", "1.5", ""])
      await expect(ask("--limit", limit)).rejects.toThrow("--limit must be a whole number, 1 or more");
  });
});
