/** Builds the peers, which takes a second if nothing changed. */

import { spawnSync } from "node:child_process";
import { cargoBuild } from "../../__test__/helpers/cargo.js";
import { buildGoPeer } from "../../__test__/helpers/go-build.js";
import type { Peers } from "../contenders/index.js";

export function buildPeers(profile: "dev" | "release"): Peers {
  const go = spawnSync("go", ["version"]).error === undefined ? buildGoPeer() : undefined;
  return { rust: cargoBuild("shim-peer", ["shim-peer"], profile), go };
}
