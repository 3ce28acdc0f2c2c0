import { type Part, Text } from "./text.js";

const GAP = "  ";

/**
 * Lines of cells in columns as wide as they need to be. The last column is not padded.
 *
 * @param least - How wide the columns are at least.
 */
export function table(rows: readonly (readonly Part[])[], least: readonly number[] = []): Text[] {
  const cells = rows.map((row) => row.map((cell) => Text.of(cell)));
  const widths = [...least];
  for (const row of cells) {
    for (const [column, { length }] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, length);
  }
  return cells.map((row) =>
    Text.joined(
      row.map((cell, column) => {
        if (column === row.length - 1) return cell;
        return Text.joined([cell, " ".repeat((widths[column] ?? 0) - cell.length)]);
      }),
      GAP,
    ),
  );
}
