/**
 * The name of a call or of a request: its slot, and its generation, which counts the earlier users of the slot. A slot
 * is retired once its generations are used up, so no two calls of a bridge ever have the same name.
 */
export interface Named {
  slot: number;
  generation: number;
}

/** The most calls of one side that may be in flight. */
const MOST_IN_USE = (1 << 20) - 1;

let generations = 2 ** 31 - 1;

/** How often a slot is used. Generations stay below 2^31, so that V8 stores them without allocating an object. */
export function generationsPerSlot(): number {
  return generations;
}

/** Makes slots wear out early, for tests. Call it before the first bridge is opened. */
export function limitGenerations(limit: number): void {
  generations = limit;
}

/**
 * Calls or requests in flight, by name. It is not a Map: V8 keeps copying a Map whose entries come and go by the
 * thousand, and each copy in the old generation keeps all later copies, and what they hold, alive until the next full
 * collection.
 *
 * Every method acts only for the present user of a slot. Earlier users find nothing.
 */
abstract class Slots<T extends Named> {
  /** Slot 0 is never used. */
  protected readonly users: (T | undefined)[] = [undefined];

  /** The user with this name; undefined if it is no longer in flight. */
  get(slot: number, generation: number): T | undefined {
    const user = this.users[slot];
    return user !== undefined && user.generation === generation ? user : undefined;
  }

  /** Whether `user` is in flight. */
  has(user: T): boolean {
    return this.users[user.slot] === user;
  }

  *values(): Iterable<T> {
    for (const user of this.users) if (user !== undefined) yield user;
  }
}

/** Calls of this side, which are named here. */
export class CallSlots<T extends Named> extends Slots<T> {
  /** The next generation of each slot. */
  readonly #generations: number[] = [0];
  readonly #free: number[] = [];
  readonly #perSlot = generationsPerSlot();
  #inUse = 0;

  /** Names `call`. Returns false if no name is left: a million calls may be in flight. */
  add(call: T): boolean {
    if (this.#inUse >= MOST_IN_USE) return false;
    this.#inUse++;
    const slot = this.#free.pop() ?? this.users.length;
    call.slot = slot;
    call.generation = this.#generations[slot] ??= 0;
    this.users[slot] = call;
    return true;
  }

  /** Ends a call. Returns whether it was in flight. */
  delete(call: T): boolean {
    const { slot } = call;
    if (this.users[slot] !== call) return false;
    this.users[slot] = undefined;
    this.#inUse--;
    const next = call.generation + 1;
    this.#generations[slot] = next;
    if (next < this.#perSlot) this.#free.push(slot);
    return true;
  }
}

/** Requests of peers, which Rust names. */
export class RequestSlots<T extends Named> extends Slots<T> {
  #held = 0;

  /**
   * Adds a request. Rust reuses a slot only after it reported that the slot's user needs no answer, or after it took
   * the answer.
   */
  add(request: T): void {
    const { users } = this;
    while (users.length <= request.slot) users.push(undefined);
    users[request.slot] = request;
    this.#held++;
  }

  /** How many were added, and were neither answered nor let go. */
  get held(): number {
    return this.#held;
  }

  /** A request that is in flight gets its answer. */
  answered(request: T): void {
    this.users[request.slot] = undefined;
    this.#held--;
  }

  /** Nobody waits for the answer to a request that is in flight. Its handler may still hold it. */
  aborted(request: T): void {
    this.users[request.slot] = undefined;
  }

  /** Nothing is held any more of one that was aborted. */
  letGo(): void {
    this.#held--;
  }
}
