import { codeName } from "../../code.js";
import { jsonLine, plainJson } from "../output/json.js";
import { styled } from "../output/stdout.js";
import { type Part, Text, text } from "../output/text.js";
import { latency } from "../output/units.js";
import type { Decoded, Sender } from "./decoder.js";

/** An event on a connection. */
export type Happening =
  | { readonly event: "open" }
  | ({ readonly event: "frame" } & Decoded)
  /** One side sends something other than ttrpc. */
  | { readonly event: "lost"; readonly from: Sender }
  | { readonly event: "close"; readonly bytes: Readonly<Record<Sender, number>>; readonly error?: string };

/** An event, with its time and its connection. */
export type ProxyEvent = Happening & { readonly time: string; readonly connection: number };

/**
 * An event in one line.
 *
 * @param most - The characters of a message that are shown; of a longer one, the size follows.
 */
export function eventLine(event: ProxyEvent, most = Number.POSITIVE_INFINITY): Text {
  const time = styled("dim", new Date(event.time).toTimeString().slice(0, 8) + event.time.slice(19, 23));
  const where = (stream?: number) =>
    styled("dim", stream === undefined ? `${event.connection}` : `${event.connection}:${stream}`);
  switch (event.event) {
    case "open":
      return text`${time} ${where()} ${styled("dim", "open")}`;
    case "close": {
      const { client, server } = event.bytes;
      const why = event.error === undefined ? "" : `: ${event.error}`;
      return text`${time} ${where()} ${styled("dim", `closed, ${client} bytes →, ${server} bytes ←${why}`)}`;
    }
    case "lost":
      return text`${time} ${where()} ${styled("red", `the ${event.from} does not speak ttrpc; its bytes are passed on unread`)}`;
    case "frame":
      return text`${time} ${where(event.stream)} ${frameLine(event, most)}`;
  }
}

const ARROWS = { client: "→", server: "←" } as const;

function shortened(whole: Part, most: number): Text {
  const all = Text.of(whole);
  return all.length <= most
    ? all
    : text`${all.cut(most)}${styled("dim", `… ${all.length} characters, --full`)}`;
}

function frameLine(frame: Decoded, most: number): Text {
  const { from, type, service, method, latencyMs, status, message, raw, problem } = frame;
  const parts: Part[] = [styled(from === "client" ? "cyan" : "green", ARROWS[from])];
  if (type !== "request" && type !== "response") parts.push(type);
  if (service !== undefined) parts.push(text`${service}/${styled("bold", method ?? "")}`);
  if (frame.metadata !== undefined) parts.push(styled("dim", plainJson(frame.metadata)));
  if (frame.timeoutMs !== undefined) parts.push(styled("dim", `within ${latency(frame.timeoutMs)}`));
  if (latencyMs !== undefined) parts.push(styled("yellow", latency(latencyMs)));
  if (status !== undefined)
    parts.push(styled("red", `${codeName(status.code)} (${status.code}): ${status.message}`));
  for (const detail of status?.details ?? []) parts.push(shortened(jsonLine(detail), most));
  if (message !== undefined) parts.push(shortened(jsonLine(message), most));
  if (raw !== undefined && raw !== "") parts.push(shortened(raw, most));
  if (problem !== undefined) parts.push(styled("red", `(${problem})`));
  if (frame.open) parts.push(styled("dim", "open"));
  if (frame.end && (type === "data" || (message ?? raw ?? status) === undefined))
    parts.push(styled("dim", "end"));
  return Text.joined(parts, " ");
}
