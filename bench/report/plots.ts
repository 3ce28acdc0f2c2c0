/** The plots of the report, as SVG. */

import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import type { Name, Side } from "../contenders/index.js";
import { bytes, type Case } from "../work/cases.js";
import { SIZES } from "../work/unary.js";
import type { Comparison } from "./comparison.js";

/** Colours that colour-blind readers can also distinguish. */
const COLOURS: Readonly<Record<Name, string>> = {
  package: "#0072b2",
  sleeping: "#cc79a7",
  releasing: "#b07d00",
  thread: "#56b4e9",
  plain: "#e69f00",
  native: "#d55e00",
  go: "#009e73",
  grpc: "#999999",
};

const SIDES: Readonly<Record<Side, string>> = {
  client: "clients, native Rust server",
  server: "servers, native Rust client",
};

/** How all plots look. */
export const CONFIG = {
  background: "white",
  padding: 14,
  font: "Helvetica, Arial, DejaVu Sans, sans-serif",
  axis: {
    labelFontSize: 11,
    // No label is cut.
    labelLimit: 0,
    titleFontSize: 11,
    titleFontWeight: "normal",
    gridColor: "#e8e8e8",
  },
  legend: { labelFontSize: 11, title: null, orient: "bottom", symbolOpacity: 1, labelLimit: 0 },
  title: { fontSize: 12, anchor: "middle", offset: 6 },
  concat: { spacing: 24 },
  view: { stroke: "#cccccc" },
} as const;

/** A point of a plot. */
interface Point {
  readonly panel: string;
  readonly name: Name;
  readonly contender: string;
  readonly x: number | string;
  readonly y: number;
  readonly low: number;
  readonly high: number;
}

type Axis = (one: Case) => { panel: string; x: number | string; scale?: number } | undefined;

/** Draws the plots that have data. Returns them by name. */
export async function drawPlots(run: Comparison): Promise<Map<string, string>> {
  const calls = "calls a second";
  const specs: [string, TopLevelSpec | undefined][] = [
    ["ratios", ratioPlot(run)],
    [
      "inflight",
      linePlot(run, "Throughput against calls in flight, one connection", "calls in flight", calls, (one) =>
        one.work === "unary" && one.connections === 1 && [64, 4 << 10].includes(one.size)
          ? { panel: `${bytes(one.size)}, ${SIDES[one.side]}`, x: one.inflight }
          : undefined,
      ),
    ],
    [
      "payload",
      linePlot(run, "Throughput against payload, 16 in flight", "bytes of a payload", "MiB a second", (one) =>
        one.work === "unary" && one.inflight === 16 && one.side === "client" && SIZES.includes(one.size)
          ? { panel: SIDES.client, x: one.size, scale: one.size / (1 << 20) }
          : undefined,
      ),
    ],
    [
      "connections",
      linePlot(run, "Throughput against connections, 256 calls in flight", "connections", calls, (one) =>
        one.work === "unary" && one.inflight === 256 && one.size === 64
          ? { panel: SIDES[one.side], x: one.connections }
          : undefined,
      ),
    ],
    ["streams", barPlot(run)],
  ];
  const drawn = new Map<string, string>();
  for (const [name, spec] of specs) {
    if (spec === undefined) continue;
    const view = new View(parse(compile(spec).spec), { renderer: "none" });
    drawn.set(name, await view.toSVG());
    view.finalize();
  }
  return drawn;
}

function pointsOf(run: Comparison, axis: Axis): Point[] {
  return run.measured.flatMap(({ id, case: one, results }) => {
    const place = axis(one);
    if (place === undefined) return [];
    const { panel, x, scale = 1 } = place;
    return [...results.keys()].flatMap((name): Point[] => {
      const figure = run.figure(id, name);
      if (figure === undefined) return [];
      const [y, low, high] = [figure.median * scale, figure.low * scale, figure.high * scale];
      return [{ panel, name, contender: run.label(name), x, y, low, high }];
    });
  });
}

function colour(run: Comparison, points: readonly Point[]) {
  const names = [...run.contestants.keys()].filter((name) => points.some((point) => point.name === name));
  const scale = { domain: names.map((name) => run.label(name)), range: names.map((name) => COLOURS[name]) };
  return { field: "contender", type: "nominal", scale } as const;
}

/** Draws lines of medians, each in a band of its quartiles. */
function linePlot(
  run: Comparison,
  title: string,
  xTitle: string,
  yTitle: string,
  axis: Axis,
): TopLevelSpec | undefined {
  const all = pointsOf(run, axis);
  // A single point makes no line.
  const points = all.filter(({ panel, name }) => {
    return all.filter((other) => other.panel === panel && other.name === name).length > 1;
  });
  const places = [...new Set(points.map(({ x }) => Number(x)))].toSorted((a, b) => a - b);
  if (places.length < 2) return undefined;
  const isBytes = xTitle.startsWith("bytes");
  const x = {
    field: "x",
    type: "quantitative",
    title: isBytes ? "payload" : xTitle,
    scale: { type: "log", base: 2, nice: false },
    axis: {
      values: places,
      grid: false,
      labelOverlap: false,
      labelBound: false,
      labelFlush: false,
      labelExpr: isBytes
        ? "datum.value >= 1024 ? datum.value / 1024 + ' KiB' : datum.value + ' B'"
        : "datum.value",
    },
  } as const;
  const y = { type: "quantitative", title: yTitle, axis: { format: "~s" } } as const;
  const color = colour(run, points);
  return inPanels(title, points, (values, panel, alone) => ({
    title: panel,
    data: { values },
    width: alone ? 520 : 330,
    height: 220,
    encoding: { x, color },
    layer: [
      {
        mark: { type: "area", opacity: 0.15 },
        encoding: { y: { ...y, field: "low" }, y2: { field: "high" } },
      },
      {
        mark: { type: "line", strokeWidth: 2.2, point: { size: 34, filled: true } },
        encoding: { y: { ...y, field: "y" } },
      },
    ],
  }));
}

type Unit = Extract<TopLevelSpec, { concat: unknown }>["concat"][number];

/** A panel for each name among the points, two in a row. */
function inPanels<P extends { panel: string }>(
  title: string,
  points: readonly P[],
  draw: (points: P[], panel: string, alone: boolean) => Unit,
): TopLevelSpec | undefined {
  const panels = [...new Set(points.map(({ panel }) => panel))];
  if (panels.length === 0) return undefined;
  const concat = panels.map((panel) =>
    draw(
      points.filter((point) => point.panel === panel),
      panel,
      panels.length === 1,
    ),
  );
  return {
    title: { text: title, fontSize: 14, anchor: "start", offset: 14 },
    config: CONFIG,
    concat,
    columns: 2,
  };
}

const DIRECTIONS: Readonly<Record<string, string>> = {
  sink: "to the server",
  source: "to the client",
  chat: "both ways",
};

/** Streams: a bar for each contender, with its quartiles. */
function barPlot(run: Comparison): TopLevelSpec | undefined {
  const points = pointsOf(run, ({ work, side, size }) =>
    work in DIRECTIONS ? { panel: `${bytes(size)}, ${SIDES[side]}`, x: DIRECTIONS[work] ?? work } : undefined,
  );
  const color = colour(run, points);
  const y = { type: "quantitative", title: "messages a second", axis: { format: "~s" } } as const;
  return inPanels("Streams, one stream on one connection", points, (values, panel) => ({
    title: panel,
    data: { values },
    width: 330,
    height: 200,
    encoding: {
      x: {
        field: "x",
        type: "nominal",
        title: null,
        sort: Object.values(DIRECTIONS),
        axis: { labelAngle: 0 },
      },
      xOffset: { field: "contender", type: "nominal", sort: color.scale.domain },
    },
    layer: [
      { mark: "bar", encoding: { y: { ...y, field: "y" }, color } },
      {
        mark: { type: "rule", color: "#333333" },
        encoding: { y: { ...y, field: "low" }, y2: { field: "high" } },
      },
    ],
  }));
}

/** For each case, the median ratio of this package to two others, with its range. */
function ratioPlot(run: Comparison): TopLevelSpec | undefined {
  const others: readonly Name[] = ["plain", "native"];
  const rows = (["client", "server"] as const).flatMap((side) =>
    others.flatMap((other) =>
      run.measured.flatMap(({ id, case: one }) => {
        const ratio = one.side === side ? run.ratio(id, "package", other) : undefined;
        const panel = `${side === "client" ? "clients" : "servers"}: ÷ ${run.label(other)}`;
        return ratio === undefined ? [] : [{ panel, what: describe(one), ...ratio }];
      }),
    ),
  );
  // The whole range of each case is shown, and a little room beside the outermost.
  const least = Math.min(0.5, ...rows.map(({ min }) => min / RATIO_MARGIN));
  const most = Math.max(2, ...rows.map(({ max }) => max * RATIO_MARGIN));
  const domain = [least, most];
  const x = {
    type: "quantitative",
    title: "more is faster",
    scale: { type: "log", base: 2, domain, nice: false },
    axis: { values: RATIO_TICKS.filter((tick) => tick >= least && tick <= most), format: "~g" },
  } as const;
  const y = { field: "what", type: "nominal", sort: null, title: null, axis: { grid: true } } as const;
  const color = COLOURS.package;
  const title = "This package against the others: median ratio, quartiles and range";
  return inPanels(title, rows, (values, panel) => ({
    title: panel,
    data: { values },
    width: 290,
    height: { step: 17 },
    layer: [
      {
        mark: { type: "rule", color: "#666666", strokeDash: [4, 3] },
        encoding: { x: { ...x, datum: 1 } },
      },
      {
        mark: { type: "rule", color, opacity: 0.5 },
        encoding: { y, x: { ...x, field: "min" }, x2: { field: "max" } },
      },
      {
        mark: { type: "bar", height: 6, color, opacity: 0.45 },
        encoding: { y, x: { ...x, field: "low" }, x2: { field: "high" } },
      },
      {
        mark: { type: "point", filled: true, size: 48, color, opacity: 1 },
        encoding: { y, x: { ...x, field: "median" } },
      },
    ],
  }));
}

const RATIO_TICKS = [0.125, 0.25, 0.5, 0.7, 1, 1.4, 2, 3, 4, 6, 8, 16, 32, 64];
const RATIO_MARGIN = 1.1;

function describe({ work, size, inflight, connections }: Case): string {
  if (work in DIRECTIONS) return `stream ${bytes(size)}, ${DIRECTIONS[work]}`;
  const what = work === "forward" ? "ForwardRequest" : `unary ${bytes(size)}`;
  return `${what}, ${inflight} in flight${connections > 1 ? `, ${connections} connections` : ""}`;
}
