import type { DescMessage } from "@bufbuild/protobuf";
import { registry } from "../../src/protos/registry.js";
import { signatures } from "./dump.js";
import type { PeerType } from "./peer.js";

/** A type that both sides have. */
export interface Pair {
  readonly desc: DescMessage;
  /** Rust's index of it. */
  readonly type: number;
}

/** Pairs Node's types with Rust's, and reports the types and fields that only one side has. */
export function pairTypes(peerTypes: readonly PeerType[]): { pairs: Pair[]; problems: string[] } {
  const problems: string[] = [];
  const pairs: Pair[] = [];
  const left = new Map(
    [...registry].filter((desc) => desc.kind === "message").map((desc) => [desc.typeName, desc]),
  );
  for (const [type, [name, fields]] of peerTypes.entries()) {
    const desc = left.get(name);
    left.delete(name);
    if (desc === undefined) {
      problems.push(`${name}: only Rust has it`);
      continue;
    }
    const [node, rust] = [signatures(desc).join(", "), fields.join(", ")];
    if (node !== rust) problems.push(`${name}: the fields of Node are ${node}; those of Rust ${rust}`);
    pairs.push({ desc, type });
  }
  for (const name of left.keys()) problems.push(`${name}: only Node has it`);
  return { pairs, problems };
}
