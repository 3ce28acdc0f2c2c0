import { stripVTControlCharacters } from "node:util";

const GAP = "  ";

/** Lines of cells in columns as wide as they need to be. The last column is not padded. */
export function table(rows: readonly (readonly string[])[], alignRight: readonly number[] = []): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.entries()) {
      widths[column] = Math.max(widths[column] ?? 0, visibleLength(cell));
    }
  }
  return rows.map((row) =>
    row
      .map((cell, column) => {
        const padding = " ".repeat((widths[column] ?? 0) - visibleLength(cell));
        if (alignRight.includes(column)) return padding + cell;
        return column === row.length - 1 ? cell : cell + padding;
      })
      .join(GAP)
      .trimEnd(),
  );
}

function visibleLength(text: string): number {
  return stripVTControlCharacters(text).length;
}
