import { cargoBuild } from "../helpers/cargo.js";

/** Builds the Rust side and gives its path. */
export function buildParityPeer(): string {
  // Together with the other peer, so that the crates that both need are built once, with the features that both need.
  return cargoBuild("shim-parity", ["shim-peer", "shim-parity"]);
}
