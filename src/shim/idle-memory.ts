import { setTimeout } from "node:timers";
import { setFlagsFromString } from "node:v8";
import type { DescService } from "@bufbuild/protobuf";
import { giveBackMemory } from "../native/bridge.js";
import type { ServiceImpl } from "../server/service.js";
import { handlersOf } from "./handlers.js";

/** How long a shim must go without a request to count as idle. */
const IDLE_MS = 2000;
/** How far resident memory must have grown since it was last given back to be worth giving back. */
const WORTHWHILE = 1 << 20;

/**
 * How V8 keeps memory small from the first pause on: the space for young objects grows no more, a collection frees the code of
 * functions that have not run since the last one, and it leaves no page half empty. They are not given to Node at its
 * start: with any flag of V8's, Node compiles its own JavaScript anew, which takes longer than the rest of a shim's start.
 */
const SMALL = ["--semi-space-growth-factor=1", "--bytecode-old-age=1", "--compact-on-every-full-gc"];
/** After a collection, V8 sets a timer for another, which would wake up a shim that idles. */
const WITHOUT_TIMERS = "--no-incremental-marking";
const WITH_TIMERS = "--incremental-marking";

const nameOf = (flag: string) => flag.replaceAll("_", "-").replace(/^--?(?:no-)?|=.*$/g, "");
/** The flags that Node was started with, which stay as they are. */
const chosen = new Set(process.execArgv.map(nameOf));

function setFlag(flag: string): void {
  if (!chosen.has(nameOf(flag))) setFlagsFromString(flag);
}

/**
 * Gives back what a shim's start, or a burst of requests, took: two seconds after the last request, if memory has grown.
 * A shim that idles sets no timer, so nothing wakes it up.
 */
export class IdleMemory {
  #requests = 0;
  #timer: NodeJS.Timeout | undefined;
  readonly #idleMs: number;
  /** Resident bytes after memory was last given back. */
  #resident = 0;

  constructor(idleMs = IDLE_MS) {
    this.#idleMs = idleMs;
  }

  /** A service with the same handlers, each request of which is noted. */
  watching<Service extends DescService>(
    descriptor: Service,
    service: ServiceImpl<Service>,
  ): ServiceImpl<Service> {
    const handlers = handlersOf(descriptor, service);
    for (const { localName } of descriptor.methods) {
      const handler = handlers[localName];
      if (typeof handler !== "function") continue;
      handlers[localName] = (request, context) => {
        this.#note();
        return handler(request, context);
      };
    }
    return handlers as ServiceImpl<Service>;
  }

  #note(): void {
    this.#requests++;
    if (this.#timer === undefined) this.#wait();
  }

  #wait(): void {
    const before = this.#requests;
    this.#timer = setTimeout(() => {
      if (this.#requests !== before) {
        this.#wait();
        return;
      }
      this.#timer = undefined;
      this.#giveBack();
    }, this.#idleMs).unref();
  }

  #giveBack(): void {
    if (resident() < this.#resident + WORTHWHILE) return;
    for (const flag of SMALL) setFlag(flag);
    setFlag(WITHOUT_TIMERS);
    giveBackMemory(() => {
      setFlag(WITH_TIMERS);
      this.#resident = resident();
    });
  }
}

/** Resident bytes. Node reads a file for it, and none can be opened when no descriptor is left; 0 then: nothing is given back. */
function resident(): number {
  try {
    return process.memoryUsage.rss();
  } catch {
    return 0;
  }
}
