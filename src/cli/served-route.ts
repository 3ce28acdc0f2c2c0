import type { DescMethod, Registry } from "@bufbuild/protobuf";
import type { Connection } from "../index.js";
import { ANSWER_TIMEOUT_MS } from "../shims/list.js";
import { findTask, limitsOf } from "../shims/versioned-task.js";
import { findMethod, unversionedTaskMethod } from "./schema/schema.js";
import type { Target } from "./target.js";

/** The method that a route names. */
export interface ServedMethod {
  /** The method; that of the newest version if the route leaves the version open. Its messages are those of all versions. */
  readonly method: DescMethod;
  /** The method in the version that the shim at the other end serves, which is asked if need be. */
  ask(
    connection: Connection,
    target: Target,
    options: { readonly timeoutMs?: number; readonly signal?: AbortSignal },
  ): Promise<DescMethod>;
}

/**
 * Looks up the method of a route, which may leave the version of the Task service open, as `Task/State` does. Throws a
 * UsageError if no version has the method.
 */
export function servedMethod(registry: Registry, route: string): ServedMethod {
  const name = unversionedTaskMethod(registry, route);
  const method = findMethod(registry, name === undefined ? route : `containerd.task.v3.Task/${name}`);
  return {
    method,
    async ask(connection, { id = "", version: likely }, { timeoutMs = ANSWER_TIMEOUT_MS, signal }) {
      if (name === undefined) return method;
      const { version } = await findTask(connection, id, limitsOf(timeoutMs, signal), likely);
      return findMethod(registry, `containerd.task.v${version}.Task/${name}`);
    },
  };
}
