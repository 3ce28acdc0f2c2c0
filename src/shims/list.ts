import { checkSignal } from "../abort.js";
import { canceledError } from "../error.js";
import { checkShimOptions, type ContainerdPlaces, PLACES, placesOf } from "./places.js";
import { Roster } from "./roster.js";
import type { ShimInfo } from "./shim-info.js";

/** The folder in which shims have their sockets, unless containerd's configuration names another. */
export const SOCKETS = "/run/containerd/s";
/** How long a shim may take to answer. */
export const ANSWER_TIMEOUT_MS = 2000;

/** Options of {@link listShims}. */
export interface ListShimsOptions extends ContainerdPlaces {
  /** Only containers of this namespace. */
  readonly namespace?: string | undefined;
  /** The folder of the shims' sockets, in which shims without a task are found. Default `/run/containerd/s`. */
  readonly sockets?: string | undefined;
  /** How long a shim may take to answer before it is `unreachable`, in milliseconds. Default 2 000. */
  readonly timeoutMs?: number | undefined;
  /** Aborts the listing, which then rejects with `Canceled`. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Lists the shims of this host with their containers: those of all tasks in containerd's state folder, by namespace and
 * id, then those of sandboxes without a container, then shims that the state folder does not name, such as those of
 * another containerd. They are asked at the same time, up to 128 at once.
 *
 * ```ts
 * for (const { namespace, id, state, pid } of await listShims({ namespace: "k8s.io" })) {
 *   console.log(namespace, id, state, pid);
 * }
 * ```
 *
 * Rejects with a TypeError if an option is wrong, and with a TtrpcError if a folder cannot be read: `NotFound`
 * if it is not there, `PermissionDenied` if only another user may read it.
 */
export async function listShims(options: ListShimsOptions = {}): Promise<ShimInfo[]> {
  checkShimOptions("listShims", options, [...PLACES, "namespace", "sockets", "timeoutMs", "signal"]);
  const { namespace, sockets = SOCKETS, timeoutMs = ANSWER_TIMEOUT_MS, signal } = options;
  checkSignal(signal);
  const roster = new Roster({ ...placesOf(options), sockets, namespace, timeoutMs, signal });
  await roster.refresh();
  if (signal?.aborted) throw canceledError(signal, "listShims");
  return roster.shims;
}
