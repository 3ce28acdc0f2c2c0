import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { ROOT } from "../helpers/program.js";
import { textOf } from "./blocks.js";

/** The types of the options that the page is about, by their files. */
const TYPES = [
  ["client/connect", "ConnectOptions"],
  ["client/reconnect", "ReconnectOptions"],
  ["client/sync-client", "SyncConnectOptions"],
  ["client/call-options", "SyncCallOptions"],
  ["client/call-options", "CallOptions"],
  ["client/client", "ClientOptions"],
  ["server/options", "ServerOptions"],
  ["server/options", "ListenOptions"],
  ["server/options", "CloseOptions"],
] as const;

it.each(TYPES)("the page of options names each option of %s's %s", (file, type) => {
  const source = readFileSync(join(ROOT, `src/${file}.ts`), "utf8");
  const [, body = ""] = new RegExp(`^export interface ${type} [^{]*\\{(.*?)^\\}`, "ms").exec(source) ?? [];
  const names = [...body.matchAll(/^ {2}readonly (\w+)\?:/gm)].map(([, name = ""]) => name);
  expect(names).not.toEqual([]);
  const page = textOf("docs/options.md");
  expect(names.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
});
