import { cargoBuild } from "../helpers/cargo.js";

/** Builds the Rust side and returns its path. */
export function buildParityPeer(): string {
  // Built together with the other peer, so that shared crates are built once, with the features that both need.
  return cargoBuild("shim-parity", ["shim-peer", "shim-parity"]);
}
