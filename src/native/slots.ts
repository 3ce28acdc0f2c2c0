/**
 * The name of a call or of a request: the slot that it has, and how many had the slot before it. A slot that has had as
 * many as it may is not used again, so no two of a port ever have the same name.
 */
export interface Named {
  slot: number;
  generation: number;
}

/** So many calls of one side may be under way. */
const MOST_IN_USE = (1 << 20) - 1;

let generations = 2 ** 31 - 1;

/** How often a slot is used. The numbers of its users stay below 2^31, which V8 keeps without an object of their own. */
export function generationsPerSlot(): number {
  return generations;
}

/** Makes slots wear out early, so that tests see it happen. To be called before the first port is opened. */
export function limitGenerations(limit: number): void {
  generations = limit;
}

/**
 * What is under way, by its name. Not a Map: one whose entries come and go by the thousand is copied all the time, and each
 * copy that V8 has moved to its old generation keeps all later ones, and what they hold, until the next full collection.
 *
 * Everything here is done for the present user of a slot only. Whoever had it before is told that there is nothing.
 */
abstract class Slots<T extends Named> {
  /** Nothing has the slot 0. */
  protected readonly users: (T | undefined)[] = [undefined];

  /** Who has this name; undefined if nobody has it any more. */
  get(slot: number, generation: number): T | undefined {
    const user = this.users[slot];
    return user !== undefined && user.generation === generation ? user : undefined;
  }

  /** Whether `user` is under way. */
  has(user: T): boolean {
    return this.users[user.slot] === user;
  }

  *values(): Iterable<T> {
    for (const user of this.users) if (user !== undefined) yield user;
  }
}

/** Calls of this side, which get their names here. */
export class CallSlots<T extends Named> extends Slots<T> {
  /** The next generation of each slot. */
  readonly #generations: number[] = [0];
  readonly #free: number[] = [];
  readonly #perSlot = generationsPerSlot();
  #inUse = 0;

  /** Names `call`. Returns whether there was a name for it: a million calls may be under way. */
  add(call: T): boolean {
    if (this.#inUse >= MOST_IN_USE) return false;
    this.#inUse++;
    const slot = this.#free.pop() ?? this.users.length;
    call.slot = slot;
    call.generation = this.#generations[slot] ??= 0;
    this.users[slot] = call;
    return true;
  }

  /** Ends a call. Returns whether it was under way. */
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
  /** Rust gives a slot again only once it has told that its user needs no answer, or has taken the answer. */
  add(request: T): void {
    const { users } = this;
    while (users.length <= request.slot) users.push(undefined);
    users[request.slot] = request;
  }

  /** Ends a request. Returns whether it was under way. */
  delete(request: T): boolean {
    if (this.users[request.slot] !== request) return false;
    this.users[request.slot] = undefined;
    return true;
  }
}
