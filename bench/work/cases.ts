/** A measurement that all contenders make in turn. */

import { type Entrant, entrants, type Name } from "../contenders/index.js";
import type { Work } from "../job.js";

/** Who is compared: clients against the native server, or servers under the native client. */
export type Side = "client" | "server";

export interface Case {
  readonly group: "unary" | "streams" | "typed";
  readonly work: Work;
  readonly side: Side;
  readonly size: number;
  readonly inflight: number;
  readonly connections: number;
  readonly names: readonly Name[];
  /** Part of a quick run. */
  readonly quick?: boolean;
}

/** What identifies a case: `client/unary/64B/16x1`. */
export function caseId({ side, work, size, inflight, connections }: Omit<Case, "names" | "group">): string {
  return `${side}/${work}/${bytes(size)}/${inflight}x${connections}`;
}

/** A number of bytes for people. */
export function bytes(size: number): string {
  return size >= 1024 ? `${size / 1024} KiB` : `${size} B`;
}

/** Finds a contender. */
export function entrant(name: Name): Entrant {
  return entrants.find((each) => each.name === name)!;
}

/** Which client measures a contender, and against which server. */
export function pairing(name: Name, side: Side): { client: Entrant; server: Entrant } {
  const one = entrant(name);
  const native = entrant("native");
  if (one.own) return { client: one, server: one };
  return side === "client" ? { client: one, server: native } : { client: native, server: one };
}
