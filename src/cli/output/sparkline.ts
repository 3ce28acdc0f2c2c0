const BARS = "▁▂▃▄▅▆▇█";

/** The last `width` values as bars from 0 to the highest of them, or to `top`. */
export function sparkline(values: readonly number[], width: number, top?: number): string {
  const shown = values.slice(-width);
  const highest = top ?? Math.max(...shown, 0);
  return shown
    .map((value) => {
      const level = highest > 0 ? Math.round((value / highest) * (BARS.length - 1)) : 0;
      return BARS[Math.min(Math.max(level, 0), BARS.length - 1)];
    })
    .join("");
}
