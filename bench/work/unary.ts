/** Unary calls: against calls in flight, payload and connections, for clients and for servers. */

import type { Name, Side } from "../contenders/index.js";
import type { Case } from "./cases.js";

const ALL: readonly Name[] = ["package", "thread", "plain", "native", "go", "grpc"];
const MAIN: readonly Name[] = ["package", "plain", "native"];

export const INFLIGHT: readonly number[] = [1, 4, 16, 64, 256, 1024];
/** 64 payloads of 256 KiB are 16 MiB in flight, which is as much as a peer should have to hold. */
const INFLIGHT_LARGE: readonly number[] = [1, 16, 64];
/** At 16 in flight. */
export const SIZES: readonly number[] = [64, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10];
/** With 256 in flight, over all of them. */
export const CONNECTIONS: readonly number[] = [1, 4, 16, 64];

function casesOf(side: Side): Case[] {
  const cases = new Map<string, Case>();
  const add = (size: number, inflight: number, connections: number, names: readonly Name[]) => {
    const key = `${size} ${inflight} ${connections}`;
    if (cases.has(key)) return;
    // With more in flight, polling makes no difference.
    const sleeping: readonly Name[] = inflight <= 4 ? ["sleeping"] : [];
    // Smaller payloads have no memory of their own.
    const releasing: readonly Name[] = side === "client" && size >= 16 << 10 ? ["releasing"] : [];
    const quick =
      size === 64 && connections === 1 && inflight <= 64 && (side === "client" || inflight === 64);
    cases.set(key, {
      group: "unary",
      work: "unary",
      side,
      size,
      inflight,
      connections,
      names: [...names, ...sleeping, ...releasing],
      quick,
    });
  };
  for (const inflight of INFLIGHT) add(64, inflight, 1, ALL);
  for (const inflight of INFLIGHT) add(4 << 10, inflight, 1, MAIN);
  for (const inflight of INFLIGHT_LARGE) add(256 << 10, inflight, 1, MAIN);
  if (side === "client") for (const size of SIZES) add(size, 16, 1, MAIN);
  for (const connections of CONNECTIONS) add(64, 256, connections, MAIN);
  add(64, 64, 64, MAIN);
  return [...cases.values()];
}

export const unaryCases: readonly Case[] = [...casesOf("client"), ...casesOf("server")];
