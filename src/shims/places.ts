import path from "node:path";
import { checkedMs, checkedString, checkOptions } from "../options.js";
import { pathOf } from "./bundles.js";
import { kindOf } from "../value-kinds.js";

/** Where a containerd and its shims are. */
export interface ContainerdPlaces {
  /**
   * containerd's state folder, which is `state` in its configuration. Default: the folder that the socket `containerd` is
   * in, if that option is given, otherwise `/run/containerd`. For k3s it is `/run/k3s/containerd`.
   */
  readonly state?: string | undefined;
  /**
   * containerd's gRPC socket, which tells its own shims from those of another containerd. Default: `containerd.sock` in
   * `state`.
   */
  readonly containerd?: string | undefined;
}

const DEFAULT_STATE = "/run/containerd";

/** The names of {@link ContainerdPlaces}. */
export const PLACES = ["state", "containerd"] as const satisfies readonly (keyof ContainerdPlaces)[];

/** Fills in the defaults. A relative path is one of the working directory. Throws a TypeError if a place is no path. */
export function placesOf(given: ContainerdPlaces): Required<ContainerdPlaces> {
  for (const name of PLACES) {
    const value: unknown = given[name];
    if (value !== undefined && (typeof value !== "string" || value === "")) {
      throw new TypeError(`${name} must be a path, not ${typeof value === "string" ? '""' : kindOf(value)}`);
    }
  }
  const named = given.containerd && pathOf(given.containerd);
  const isAbstract = named?.startsWith("@") === true;
  const socket = named && (isAbstract ? named : path.resolve(named));
  const byDefault = socket === undefined || isAbstract ? DEFAULT_STATE : path.dirname(socket);
  const state = given.state === undefined ? byDefault : path.resolve(given.state);
  return { state, containerd: socket ?? path.join(state, "containerd.sock") };
}

/** Checks options, except places. Throws a TypeError that names what is wrong. */
export function checkShimOptions(owner: string, options: object, names: readonly string[]): void {
  checkOptions(owner, options, names);
  for (const name of ["namespace", "sockets", "id"] as const) {
    const value = (options as Record<string, unknown>)[name];
    if (value !== undefined) checkedString(value, name);
  }
  for (const name of ["timeoutMs", "intervalMs"] as const) {
    const value = (options as Record<string, unknown>)[name];
    if (value !== undefined) checkedMs(value, name, "above 0");
  }
}
