/**
 * Draws the pictures of the documentation, as SVG: `node scripts/docs/drawings.mjs` writes them to docs/, or
 * to a given folder. They have no background, and colours for light and dark pages.
 */

import { writeFile } from "node:fs/promises";
import path from "node:path";
import { root, runMain } from "../toolchain.mjs";

const STYLE = `
    text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
    .name { font-weight: 600; font-size: 14px; }
    .note { fill: #59636e; font-size: 12px; }
    .group { fill: none; stroke: #8c959f; stroke-dasharray: 5 4; }
    .box { fill: #f6f8fa; stroke: #8c959f; }
    .script { fill: #ddf4ff; stroke: #0969da; }
    .native { fill: #fff1e5; stroke: #bc4c00; }
    .line { fill: none; stroke: #59636e; stroke-width: 1.5; }
    .head { fill: #59636e; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .note { fill: #9198a1; }
      .group, .box { stroke: #656c76; }
      .box { fill: #212830; }
      .script { fill: #12263f; stroke: #4493f8; }
      .native { fill: #3a2211; stroke: #db6d28; }
      .line { stroke: #9198a1; }
      .head { fill: #9198a1; }
    }
`;

/** The start and the end of an SVG. */
function svg(width, height, title, shapes) {
  const lines = shapes.flat(Infinity).map((shape) => `  ${shape}`);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="title">
  <!-- Drawn by scripts/docs/drawings.mjs. -->
  <title id="title">${title}</title>
  <style>${STYLE}  </style>
${lines.join("\n")}
</svg>
`;
}

const rect = (kind, x, y, width, height) =>
  `<rect class="${kind}" x="${x}" y="${y}" width="${width}" height="${height}" rx="6"/>`;

function text(kind, x, y, content, anchor = "middle") {
  const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text class="${kind}" x="${x}" y="${y}" text-anchor="${anchor}">${escaped}</text>`;
}

/** A box with its name, and a line below that says what it does. */
function box(kind, x, y, width, name, note) {
  const middle = x + width / 2;
  return [
    rect(kind, x, y, width, 50),
    text("name", middle, y + 21, name),
    text("note", middle, y + 39, note),
  ];
}

/** A straight arrow, horizontal or vertical, with a head at its end and, if it goes both ways, at its start. */
function arrow(x1, y1, x2, y2, both = false) {
  const [dx, dy] = [Math.sign(x2 - x1), Math.sign(y2 - y1)];
  const head = (x, y, way) =>
    `<path class="head" d="M${x} ${y} l${-way * dx * 9 - dy * 5} ${-way * dy * 9 - dx * 5} l${dy * 10} ${dx * 10} z"/>`;
  const start = both ? 8 : 0;
  return [
    `<path class="line" d="M${x1 + start * dx} ${y1 + start * dy} L${x2 - 8 * dx} ${y2 - 8 * dy}"/>`,
    head(x2, y2, 1),
    ...(both ? [head(x1, y1, -1)] : []),
  ];
}

/** The path of a call from the program to the peer, and of its reply. */
function dataPath() {
  const width = 220;
  const [left, right, peer] = [32, 432, 716];
  const rows = [62, 134, 206, 278];
  const column = (kind, x, boxes) =>
    boxes.map(([name, note], row) => box(kind, x, rows[row], width, name, note));
  const between = (x) => rows.slice(1).map((y) => arrow(x, y - 22, x, y, true));
  const scripts = [
    ["typed client", "one function for each method"],
    ["codec", "messages to bytes, compiled"],
    ["batch", "one record for each command"],
    ["bridge", "submits once a tick"],
  ];
  // From the socket, at the top, down to the engine, which is level with the bridge.
  const natives = [
    ["socket", "read and written once a turn"],
    ["transport", "judges each frame in passing"],
    ["ttrpc", "the Rust crate: client and server"],
    ["engine", "calls, requests, streams"],
  ];
  const [low, high] = [rows[3] + 16, rows[3] + 36];
  return svg(860, 372, "The data path of a call: JavaScript, the addon, the peer", [
    rect("group", 12, 12, 660, 348),
    text("name", left + width / 2, 42, "your process: JavaScript"),
    text("name", right + width / 2, 42, "your process: addon in Rust"),
    column("script", left, scripts),
    between(left + width / 2),
    column("native", right, natives),
    between(right + width / 2),
    arrow(left + width, low, right, low),
    text("note", (left + width + right) / 2, low - 6, "commands, one batch"),
    arrow(right, high, left + width, high),
    text("note", (left + width + right) / 2, high + 16, "events, one batch"),
    box("box", peer, rows[0], 132, "peer", "containerd, a shim"),
    arrow(right + width, rows[0] + 25, peer, rows[0] + 25, true),
    text("note", peer + 66, rows[0] + 70, "frames, both ways"),
  ]);
}

/** Cells in a row: each with its name, its bytes above, and its possible contents below. */
function cells(x, y, fields) {
  let at = x;
  return fields.map(({ name, bytes, notes = [], width, kind = "box" }) => {
    const middle = at + width / 2;
    const shapes = [
      rect(kind, at, y, width, 46),
      text("name", middle, y + 28, name),
      text("note", middle, y - 8, bytes),
      notes.map((note, line) => text("note", middle, y + 66 + line * 17, note)),
    ];
    at += width;
    return shapes;
  });
}

/** A frame of ttrpc. */
function frame() {
  return svg(860, 184, "A ttrpc frame: a header of 10 bytes, then the payload", [
    text("note", 20, 26, "bytes, in network order", "start"),
    cells(20, 58, [
      { name: "length", bytes: "0 to 3", width: 170, notes: ["of the payload,", "4 MiB at most"] },
      {
        name: "stream id",
        bytes: "4 to 7",
        width: 170,
        notes: ["odd and increasing,", "one for each call"],
      },
      { name: "type", bytes: "8", width: 110, notes: ["1 request", "2 response", "3 data"] },
      {
        name: "flags",
        bytes: "9",
        width: 130,
        notes: ["1 remote closed", "2 remote open", "4 no data"],
      },
      {
        name: "payload",
        bytes: "from 10 on",
        width: 240,
        kind: "script",
        notes: ["request: method, metadata, bytes", "response: status, bytes", "data: one message"],
      },
    ]),
  ]);
}

/** A record of a batch. */
function record() {
  return svg(860, 184, "A record of a batch: a header of 20 bytes, then the body", [
    text("note", 20, 26, "bytes, little-endian", "start"),
    cells(20, 58, [
      { name: "length", bytes: "0 to 3", width: 94, notes: ["of the whole", "record"] },
      { name: "operation", bytes: "4", width: 94, notes: ["command", "or event"] },
      { name: "flags", bytes: "5", width: 74, notes: ["by", "operation"] },
      { name: "route", bytes: "6 to 7", width: 84, notes: ["service", "and method"] },
      { name: "connection", bytes: "8 to 11", width: 104, notes: ["one socket"] },
      { name: "slot", bytes: "12 to 15", width: 94, notes: ["of the call,", "or a listener"] },
      { name: "generation", bytes: "16 to 19", width: 104, notes: ["of the slot"] },
      {
        name: "body",
        bytes: "from 20 on",
        width: 172,
        kind: "script",
        notes: ["fields by operation,", "then the payload,", "if it is below 8 KiB"],
      },
    ]),
  ]);
}

const DRAWINGS = { "data-path.svg": dataPath, "frame.svg": frame, "record.svg": record };

await runMain(async () => {
  const folder = process.argv[2] ?? path.join(root, "docs");
  for (const [name, draw] of Object.entries(DRAWINGS)) await writeFile(path.join(folder, name), draw());
});
