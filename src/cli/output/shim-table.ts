import type { ShimInfo } from "../../shims/shim-info.js";
import { styled } from "./stdout.js";
import { table } from "./table.js";
import { type Part, Text, text } from "./text.js";
import { age } from "./units.js";

const HEADINGS = ["NAMESPACE", "ID", "PID", "VERSION", "STATE", "UPTIME", "ADDRESS"];
/** The columns that give way when the table is too wide, the first one first, and how narrow they may become. */
const YIELDING = [
  { column: HEADINGS.indexOf("STATE"), least: 12 },
  { column: HEADINGS.indexOf("ID"), least: 13 },
  { column: HEADINGS.indexOf("NAMESPACE"), least: 10 },
] as const;
const ADDRESS = HEADINGS.indexOf("ADDRESS");
const GAP = 2;
const INDENT = "  ";

/** The shims as a table within `columns`. An address that has no room in its row gets a line of its own. */
export function rowsThatFit(shims: readonly ShimInfo[], columns: number): Text[] {
  const rows = shims.map((shim) => cellsOf(shim));
  const headings = HEADINGS.map((heading) => styled("bold", heading));
  const all = [headings, ...rows];
  const whole = table(all);
  if (widthOf(whole) <= columns) return whole;
  const longest = Math.max(...all.map((row) => Text.of(row[ADDRESS] ?? "").length));
  const narrow = narrowed(all, columns - longest - GAP);
  const fitting = table(narrow);
  if (widthOf(fitting) <= columns) return fitting;
  // Not even narrow columns leave room for the addresses.
  const [first, ...others] = table(narrowed(all, columns).map((row) => row.slice(0, ADDRESS)));
  const lines = others.flatMap((line, at) => {
    const address = shims[at]?.address;
    return address ? [line, shortened(text`${INDENT}${address}`, columns)] : [line];
  });
  return [first ?? Text.of(""), ...lines].map((line) => line.cut(columns));
}

/** Rows for a pipe whose reader wants them at once. The columns are as wide as the rows of the first batch need. */
export class ShimTable {
  #widths: number[] | undefined;
  readonly #printed = new Set<string>();

  /** The rows of the shims that were not among those before; with the headings at the first call. */
  next(shims: readonly ShimInfo[]): Text[] {
    const fresh = shims.filter((shim) => {
      const name = JSON.stringify([shim.namespace, shim.id, shim.address]);
      if (this.#printed.has(name)) return false;
      this.#printed.add(name);
      return true;
    });
    const rows: Part[][] = fresh.map((shim) => cellsOf(shim));
    if (this.#widths === undefined) rows.unshift(HEADINGS.map((heading) => styled("bold", heading)));
    this.#widths ??= widthsOf(rows);
    return table(rows, this.#widths);
  }
}

function widthsOf(rows: readonly (readonly Part[])[]): number[] {
  return HEADINGS.map((_, column) => Math.max(...rows.map((row) => Text.of(row[column] ?? "").length)));
}

/** Shortens cells, column by column, until the columns but the address fit into `room`. */
function narrowed(rows: readonly (readonly Part[])[], room: number): Part[][] {
  const result = rows.map((row) => [...row]);
  for (const { column, least } of YIELDING) {
    const widths = widthsOf(result);
    const taken = widths.slice(0, ADDRESS).reduce((total, each) => total + each + GAP, -GAP);
    if (taken <= room) break;
    const most = Math.max((widths[column] ?? 0) - (taken - room), least);
    for (const row of result) row[column] = shortened(Text.of(row[column] ?? ""), most);
  }
  return result;
}

/** A text that ends in an ellipsis if it does not fit. */
function shortened(whole: Text, columns: number): Text {
  return whole.length <= columns ? whole : Text.joined([whole.cut(columns - 1), "…"]);
}

function widthOf(lines: readonly Text[]): number {
  return Math.max(...lines.map(({ length }) => length));
}

function cellsOf(shim: ShimInfo): Part[] {
  return [
    shim.namespace ?? "-",
    shim.id ?? "-",
    String(shim.pid ?? "-"),
    shim.version === null ? "-" : `v${shim.version}`,
    stateOf(shim),
    shim.uptimeSeconds === null ? "-" : age(shim.uptimeSeconds),
    shim.address ?? "-",
  ];
}

const STYLES: Readonly<Record<string, Parameters<typeof styled>[0]>> = {
  running: "green",
  unreachable: "red",
  error: "red",
  orphan: "yellow",
};

function stateOf({ state, error, own, containerd }: ShimInfo): Text {
  const whose = own || state === "orphan" || containerd === null ? "" : `, of ${containerd}`;
  const words = error === null ? `${state}${whose}` : `${state} (${error})${whose}`;
  return styled(STYLES[state] ?? "yellow", words);
}
