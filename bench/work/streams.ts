/** One stream: a flood to the server, a flood from it, and messages that come back. */

import type { Name, Side } from "../contenders/index.js";
import type { Work } from "../job.js";
import type { Case } from "./cases.js";

const WORKS: readonly Work[] = ["sink", "source", "chat"];

function casesOf(side: Side, size: number, names: readonly Name[]): Case[] {
  // A chat has as many bytes in flight as the connection's ends buffer: 1 MiB.
  const inflight = Math.min(64, (1 << 20) / size);
  const quick = side === "client" && size === 256;
  return WORKS.map((work) => {
    return { group: "streams", work, side, size, inflight, connections: 1, names, quick };
  });
}

export const streamCases: readonly Case[] = [
  ...casesOf("client", 256, ["package", "plain", "native", "go", "grpc"]),
  ...casesOf("client", 64 << 10, ["package", "releasing", "plain", "native", "go"]),
  ...casesOf("server", 256, ["package", "plain", "native", "go"]),
  ...casesOf("server", 64 << 10, ["package", "releasing", "plain", "native", "go"]),
];
