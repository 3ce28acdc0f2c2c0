/** The cases that all contenders measure in turn. */

import type { Contestant, Name, Side } from "../contenders/index.js";
import type { Work } from "../job.js";

export interface Case {
  readonly group: "unary" | "streams" | "typed";
  readonly work: Work;
  readonly side: Side;
  readonly size: number;
  readonly inflight: number;
  readonly connections: number;
  readonly names: readonly Name[];
  /** Part of a quick run. */
  readonly quick: boolean;
}

/** The id of a case: `client/unary/64B/16x1` has 16 calls in flight on one connection. */
export function caseId(side: Side, work: Work, size: number, inflight: number, connections = 1): string {
  return `${side}/${work}/${bytes(size).replace(" ", "")}/${inflight}x${connections}`;
}

/** The id of a case. */
export function idOf({ side, work, size, inflight, connections }: Case): string {
  return caseId(side, work, size, inflight, connections);
}

/** A number of bytes for people. */
export function bytes(size: number): string {
  return size >= 1024 ? `${size / 1024} KiB` : `${size} B`;
}

/** Which client measures a contender, and against which server. */
export function pairing(
  all: ReadonlyMap<Name, Contestant>,
  name: Name,
  side: Side,
): { client: Contestant; server: Contestant } {
  const [one, native] = [all.get(name), all.get("native")];
  if (one === undefined || native === undefined) throw new Error(`no contender ${name}`);
  if (one.own) return { client: one, server: one };
  return side === "client" ? { client: one, server: native } : { client: native, server: one };
}
