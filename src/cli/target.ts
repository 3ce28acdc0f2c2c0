import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import { NoStateFolder } from "../shims/bundles.js";
import { type ContainerdPlaces, placesOf } from "../shims/places.js";
import { AmbiguousId, findShimById, isAddress, onlyTaskAt } from "../shims/target.js";
import { AS_ROOT } from "./describe-error.js";
import { UsageError } from "./errors.js";

/** The options of all commands. */
export interface PlaceOptions {
  /** containerd's state folder. */
  readonly state?: string;
  /** containerd's gRPC socket. */
  readonly address?: string;
}

/** The options of commands that take a container's id. */
export interface TargetOptions extends PlaceOptions {
  readonly namespace?: string;
}

/** A shim, and the container that the user named. */
export interface Target {
  readonly address: string;
  readonly id: string | undefined;
  /** The version of the Task service that the shim probably serves. */
  readonly version?: number | undefined;
}

/** The places that the options name. */
export function placesIn({ state, address }: PlaceOptions): Required<ContainerdPlaces> {
  return placesOf({ state, containerd: address });
}

/** The shim that an address, an id or the beginning of an id names. Throws a UsageError. */
export function targetOf(text: string, options: TargetOptions): Target {
  if (isAddress(text)) return { address: text, id: undefined };
  const { address, id, version } = lookUp(() => findShimById(text, whereOf(options)));
  return { address, id, version };
}

/** As {@link targetOf}, with the container even if the user named only the address of its shim. */
export function containerAt(
  text: string,
  id: string | undefined,
  options: TargetOptions,
): Target & { readonly id: string } {
  const target = targetOf(text, options);
  const known = id ?? target.id ?? onlyTaskAt(target.address, whereOf(options))?.id;
  if (known !== undefined) return { address: target.address, id: known };
  throw new UsageError(
    `${text} names no container`,
    "the container's id after the address, because its shim has several or is not in containerd's state",
  );
}

function whereOf(options: TargetOptions): { readonly state: string; readonly namespace?: string } {
  return { state: placesIn(options).state, namespace: options.namespace };
}

const STATE_ADVICE = "--state with the `state` of containerd's configuration, such as /run/k3s/containerd";

/** Reads containerd's state. What is wrong with it is an error of the command line. */
function lookUp<T>(look: () => T): T {
  try {
    return look();
  } catch (error) {
    throw lookUpError(error);
  }
}

/** The error of a command line whose folders cannot be read, or whose id names no container. */
export function lookUpError(error: unknown): unknown {
  if (!(error instanceof TtrpcError)) return error;
  const { code, message } = error;
  if (code === Code.PermissionDenied) {
    return new UsageError(message, `${AS_ROOT}: only root may read containerd's state`);
  }
  if (error instanceof NoStateFolder) return new UsageError(message, STATE_ADVICE);
  if (error instanceof AmbiguousId)
    return new UsageError(message, "more of the id, or -n with its namespace");
  if (code === Code.NotFound)
    return new UsageError(message, "`shimctl ls`, which lists all containers, or another --state");
  return new UsageError(message);
}
