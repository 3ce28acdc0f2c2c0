import { type AbortListener, listenToAbort, unlistenToAbort } from "../abort.js";
import type { Decode, Payload } from "../codec/payload.js";
import { canceledError, ofCall } from "../error.js";
import type { BatchReader } from "../native/batch-reader.js";
import type { OutgoingCall, PendingCall } from "../native/types.js";
import { type CallSite, named, rejectLater } from "./call-site.js";
import type { CallOptions, CheckedFields } from "./call-options.js";

/** What a connection needs to make a unary call. */
export interface UnaryInit<T> {
  /** The method's route. */
  readonly route: number;
  readonly payload: Payload;
  readonly options: CallOptions | undefined;
  readonly decode: Decode<T>;
}

/** Makes a unary call on an open connection. */
export function unaryCall<T>(
  site: CallSite,
  connection: number,
  call: OutgoingCall & { readonly fields: CheckedFields },
  decode: Decode<T>,
): Promise<T> {
  const { route } = call;
  const { signal } = call.fields;
  return new Promise((resolve, reject) => {
    try {
      if (signal === undefined) {
        site.bridge.call(connection, call, new PendingUnary(resolve, reject, decode, site, route));
      } else if (signal.aborted) {
        throw canceledError(signal);
      } else {
        new CancellableUnary(resolve, reject, decode, site, route, signal).start(connection, call);
      }
    } catch (error) {
      reject(named(error, site, route, unaryCall));
    }
  });
}

class PendingUnary<T> implements PendingCall {
  slot = 0;
  generation = 0;

  constructor(
    readonly resolve: (value: T | Promise<never>) => void,
    readonly reject: (error: unknown) => void,
    readonly decode: Decode<T>,
    readonly site: CallSite,
    readonly route: number,
  ) {}

  succeed(reader: BatchReader): void {
    try {
      this.resolve(reader.read(this.decode));
    } catch (error) {
      this.fail(ofCall(error));
    }
  }

  fail(error: unknown): void {
    rejectLater(this.resolve, this.reject, named(error, this.site, this.route));
  }
}

class CancellableUnary<T> extends PendingUnary<T> implements AbortListener {
  readonly #signal: AbortSignal;

  constructor(
    resolve: (value: T | Promise<never>) => void,
    reject: (error: unknown) => void,
    decode: Decode<T>,
    site: CallSite,
    route: number,
    signal: AbortSignal,
  ) {
    super(resolve, reject, decode, site, route);
    this.#signal = signal;
  }

  start(connection: number, call: OutgoingCall): void {
    this.site.bridge.call(connection, call, this);
    // A getter of the message may have aborted the signal.
    if (this.#signal.aborted) this.aborted();
    else listenToAbort(this.#signal, this);
  }

  aborted(): void {
    this.site.bridge.cancel(this);
    this.fail(canceledError(this.#signal));
  }

  override succeed(reader: BatchReader): void {
    unlistenToAbort(this.#signal, this);
    super.succeed(reader);
  }

  override fail(error: unknown): void {
    unlistenToAbort(this.#signal, this);
    super.fail(error);
  }
}
