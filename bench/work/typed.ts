/** containerd's ForwardRequest, sent and received as typed messages. */

import type { Side } from "../contenders/index.js";
import type { Case } from "./cases.js";

const SIDES: readonly Side[] = ["client", "server"];

export const typedCases: readonly Case[] = SIDES.flatMap((side) =>
  [64, 1024].map((inflight): Case => {
    const names = ["package", "plain", "native"] as const;
    const quick = inflight === 64;
    return { group: "typed", work: "forward", side, size: 128, inflight, connections: 1, names, quick };
  }),
);
