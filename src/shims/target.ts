import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import { findSandboxes, findTasks, type FoundTask, placeOf } from "./bundles.js";

/** Where a container is looked for. */
export interface TargetOptions {
  /** containerd's state folder. */
  readonly state: string;
  /** Only in this namespace. */
  readonly namespace?: string | undefined;
}

/** The error of an id that several containers have, or begin with. */
export class AmbiguousId extends TtrpcError {}

/** Whether a string is meant as an address. A container's id has no slash, and every address has one, wrong ones too. */
export function isAddress(target: string): boolean {
  return target.includes("/");
}

/**
 * The task whose id is, or begins with, a string. Throws a TtrpcError of code `NotFound` if there is none, and of code
 * `FailedPrecondition` if there are several, or if the task's shim has no address.
 */
export function findTaskById(id: string, where: TargetOptions): FoundTask & { address: string } {
  return reachable(id, where, byId(id, findTasks(where.state, where.namespace)));
}

/** The same, or else the sandbox of that id whose shim may have no task. */
export function findShimById(id: string, where: TargetOptions): FoundTask & { address: string } {
  const { state, namespace } = where;
  const found = byId(id, findTasks(state, namespace)) ?? byId(id, findSandboxes(state, namespace));
  return reachable(id, where, found);
}

/** The only one whose id is, or else begins with, a string. */
function byId(id: string, all: readonly FoundTask[]): FoundTask | undefined {
  const longer = () => (id === "" ? undefined : only(id, all, (each) => each.id.startsWith(id)));
  return taskNamed(id, all) ?? longer();
}

function reachable(
  id: string,
  { state, namespace }: TargetOptions,
  found: FoundTask | undefined,
): FoundTask & { address: string } {
  if (found === undefined) {
    const where = namespace === undefined ? "" : ` in namespace ${namespace}`;
    throw new TtrpcError(`no container${where} has the id ${JSON.stringify(id)} in ${state}`, Code.NotFound);
  }
  const { address, problem } = found;
  if (address === undefined || problem !== undefined) {
    const why = problem ?? "its bundle names no address";
    throw new TtrpcError(
      `the shim of ${found.namespace}/${found.id} cannot be reached: ${why}`,
      Code.FailedPrecondition,
    );
  }
  return { ...found, address };
}

/** The task of exactly this id; undefined if there is none. Throws an AmbiguousId if several namespaces have one. */
export function taskNamed(id: string, tasks: readonly FoundTask[]): FoundTask | undefined {
  return only(id, tasks, (task) => task.id === id);
}

const MOST_NAMED = 10;

/** The only one of some tasks that fits an id. */
function only(
  id: string,
  tasks: readonly FoundTask[],
  fits: (task: FoundTask) => boolean,
): FoundTask | undefined {
  const found = tasks.filter(fits);
  if (found.length < 2) return found[0];
  const names = found.slice(0, MOST_NAMED).map((each) => `${each.namespace}/${each.id}`);
  const more = found.length > MOST_NAMED ? ` and ${found.length - MOST_NAMED} more` : "";
  const text = `the id ${JSON.stringify(id)} is ambiguous: ${names.join(", ")}${more}`;
  throw new AmbiguousId(text, Code.FailedPrecondition);
}

/** The only task whose shim has this address; undefined if there is none, or if several share it. */
export function onlyTaskAt(address: string, where: TargetOptions): FoundTask | undefined {
  const there = tasksAt(address, where);
  return there.length === 1 ? there[0] : undefined;
}

/** The tasks whose shim has this address; none if containerd's state cannot be read. */
export function tasksAt(address: string, { state, namespace }: TargetOptions): FoundTask[] {
  let tasks: FoundTask[];
  try {
    tasks = findTasks(state, namespace);
  } catch {
    // A shim can be called by its address without containerd, or without the right to read its state.
    return [];
  }
  const place = placeOf(address);
  return tasks.filter((task) => task.address !== undefined && placeOf(task.address) === place);
}
