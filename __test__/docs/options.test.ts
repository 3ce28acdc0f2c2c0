import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { ROOT } from "../helpers/program.js";
import { textOf } from "./blocks.js";

/** The types of the options that the page is about, with their files and where the page has them. */
const TYPES = [
  ["client/connect", "ConnectOptions", "`connect`"],
  ["client/reconnect", "ReconnectOptions", "`connect`"],
  ["client/sync-client", "SyncConnectOptions", "`connectSync`"],
  ["client/call-options", "SyncCallOptions", "a call"],
  ["client/call-options", "CallOptions", "a call that is not blocking"],
  ["client/client", "ClientOptions", "`createClient`"],
  ["server/options", "ServerOptions", "`createServer`"],
  ["server/options", "ListenOptions", "`server.listen`"],
  ["server/options", "CloseOptions", "`server.close`"],
] as const;

/** The rows of the table about each place, which an empty cell repeats. */
const ROWS = new Map<string, string>();
let places = "";
for (const [, where = "", rest = ""] of textOf("docs/options.md").matchAll(/^\| ([^|]*?) *\|(.*)\|$/gm)) {
  places = where || places;
  for (const place of places.split(", ")) ROWS.set(place, `${ROWS.get(place) ?? ""}${rest}`);
}

it.each(TYPES)(
  "the page of options names each option of %s's %s, where it is about %s",
  (file, type, where) => {
    const source = readFileSync(join(ROOT, `src/${file}.ts`), "utf8");
    const [, body = ""] = new RegExp(`^export interface ${type} [^{]*\\{(.*?)^\\}`, "ms").exec(source) ?? [];
    const names = [...body.matchAll(/^ {2}readonly (\w+)\?:/gm)].map(([, name = ""]) => name);
    expect(names).not.toEqual([]);
    const rows = ROWS.get(where) ?? "";
    expect(names.filter((name) => !rows.includes(`\`${name}\``))).toEqual([]);
  },
);
