import { fulfilledWithin } from "../pause.js";
import { askShim, unanswered } from "./ask.js";
import { type Found, findSandboxes, findSockets, findTasks, placeOf } from "./bundles.js";
import { listeningPlaces } from "./listeners.js";
import type { ShimInfo } from "./shim-info.js";

/** What a {@link Roster} lists. */
export interface RosterOptions {
  /** containerd's state folder. */
  readonly state: string;
  /** containerd's gRPC socket. */
  readonly containerd: string;
  /** The folder of the shims' sockets; undefined to list only what has a task. */
  readonly sockets?: string | undefined;
  /** Only this namespace. */
  readonly namespace?: string | undefined;
  /** Only ids that begin like this. */
  readonly id?: string | undefined;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** How many shims are asked at a time. Those that hang must not keep the others waiting. */
const PARALLEL = 128;
/** Milliseconds after which sockets without a task are asked, even if some shims of tasks have not answered. */
const OTHERS_AFTER_MS = 100;

interface Asked {
  /** Undefined once it has answered. */
  pending: Promise<void> | undefined;
  /** The last answers, by namespace and id. */
  answers: ReadonlyMap<string, ShimInfo>;
}

/**
 * The shims of a host and their last answers. A shim that hangs delays nobody: the answers of the others are there at
 * once, and it is not asked again before its time is over.
 */
export class Roster {
  readonly #options: RosterOptions;
  readonly #asked = new Map<string, Asked>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;
  #tasks: readonly Found[] = [];
  /** Where the shims of all tasks are, those that are not listed included. */
  #places: ReadonlySet<string> = new Set();
  #others: readonly Found[] = [];

  constructor(options: RosterOptions) {
    this.#options = options;
  }

  /**
   * Reads the folders and asks all shims. Resolves once all have answered or are out of time. Throws a TtrpcError if a
   * folder cannot be read.
   */
  async refresh(): Promise<void> {
    const { state, sockets, namespace, id = "" } = this.#options;
    const tasks = findTasks(state);
    this.#tasks = tasks.filter(
      (task) => (namespace === undefined || task.namespace === namespace) && task.id.startsWith(id),
    );
    this.#places = placesOf(tasks);
    const sandboxes = findSandboxes(state);
    const places = placesOf(sandboxes);
    const unnamed = sockets === undefined ? [] : findSockets(sockets);
    const found = [...sandboxes, ...unnamed.filter(({ address = "" }) => !places.has(placeOf(address)))];
    this.#forget([...this.#tasks, ...found]);
    const answered = this.#ask(this.#tasks);
    if (found.length > 0) await fulfilledWithin(answered, OTHERS_AFTER_MS);
    const known = this.#ownPlaces();
    this.#others = found.filter(({ address = "" }) => !known.has(placeOf(address)));
    await Promise.all([answered, this.#ask(this.#others)]);
  }

  /** The shims of tasks, then those of sandboxes without one, then those that nobody names, with what is known of them now. */
  get shims(): ShimInfo[] {
    const { namespace, id = "" } = this.#options;
    const known = this.#ownPlaces();
    const others = this.#others
      .filter(({ address = "" }) => !known.has(placeOf(address)))
      .map((found) => this.#answerOf(found))
      // Without a filter all are listed; with one, only those that are known to match it.
      .filter((shim) => namespace === undefined || shim.namespace === namespace)
      .filter((shim) => id === "" || shim.id?.startsWith(id) === true);
    return [...this.#tasks.map((found) => this.#answerOf(found)), ...others];
  }

  /** The addresses of all tasks, and where else their shims listen: containerd 2's for debugging speaks no ttrpc. */
  #ownPlaces(): Set<string> {
    const pids = this.#tasks.flatMap((found) => this.#answerOf(found).pid ?? []);
    return new Set([...this.#places, ...listeningPlaces(pids)]);
  }

  #answerOf(found: Found): ShimInfo {
    return this.#asked.get(keyOf(found))?.answers.get(nameOf(found)) ?? unanswered(found, "asking", null);
  }

  /** Drops what no longer exists. */
  #forget(present: readonly Found[]): void {
    const keys = new Set(present.map((found) => keyOf(found)));
    for (const [key, { pending }] of this.#asked) {
      if (!keys.has(key) && pending === undefined) this.#asked.delete(key);
    }
  }

  async #ask(all: readonly Found[]): Promise<void> {
    // Containers of a pod share a shim, which is asked over one connection.
    const groups = new Map<string, Found[]>();
    for (const found of all) groups.set(keyOf(found), [...(groups.get(keyOf(found)) ?? []), found]);
    await Promise.all([...groups].map(([key, group]) => this.#askGroup(key, group)));
  }

  #askGroup(key: string, group: readonly Found[]): Promise<void> {
    const asked: Asked = this.#asked.get(key) ?? { pending: undefined, answers: new Map() };
    this.#asked.set(key, asked);
    asked.pending ??= this.#inTurn(async () => {
      const answers = await askShim(group, this.#options);
      asked.answers = new Map(group.map((found, at) => [nameOf(found), answers[at]!]));
    }).finally(() => (asked.pending = undefined));
    return asked.pending;
  }

  async #inTurn(work: () => Promise<void>): Promise<void> {
    if (this.#running >= PARALLEL) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#running++;
    try {
      if (this.#options.signal?.aborted !== true) await work();
    } finally {
      this.#running--;
      this.#waiting.shift()?.();
    }
  }
}

function placesOf(found: readonly Found[]): Set<string> {
  return new Set(found.flatMap(({ address }) => (address === undefined ? [] : placeOf(address))));
}

function keyOf(found: Found): string {
  return found.address ?? `\0${nameOf(found)}`;
}

function nameOf({ namespace = "", id = "" }: Found): string {
  return `${namespace}/${id}`;
}
