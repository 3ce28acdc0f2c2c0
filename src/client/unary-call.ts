import { type AbortListener, listenToAbort, unlistenToAbort } from "../abort.js";
import type { Decode, Payload } from "../codec/payload.js";
import { canceledError, type TtrpcError } from "../error.js";
import type { BatchReader } from "../native/batch-reader.js";
import type { Bridge } from "../native/bridge.js";
import type { OutgoingCall, PendingCall } from "../native/types.js";
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
  bridge: Bridge,
  connection: number,
  call: OutgoingCall & { readonly fields: CheckedFields },
  decode: Decode<T>,
): Promise<T> {
  const { signal } = call.fields;
  return new Promise((resolve, reject) => {
    if (signal === undefined) {
      bridge.call(connection, call, new PendingUnary(resolve, reject, decode));
    } else if (signal.aborted) {
      reject(canceledError(signal));
    } else {
      new CancellableUnary(resolve, reject, decode, bridge, signal).start(connection, call);
    }
  });
}

class PendingUnary<T> implements PendingCall {
  slot = 0;
  generation = 0;

  constructor(
    readonly resolve: (value: T) => void,
    readonly reject: (error: unknown) => void,
    readonly decode: Decode<T>,
  ) {}

  succeed(reader: BatchReader): void {
    try {
      this.resolve(reader.read(this.decode));
    } catch (error) {
      this.reject(error);
    }
  }

  fail(error: TtrpcError): void {
    this.reject(error);
  }
}

class CancellableUnary<T> extends PendingUnary<T> implements AbortListener {
  readonly #bridge: Bridge;
  readonly #signal: AbortSignal;

  constructor(
    resolve: (value: T) => void,
    reject: (error: unknown) => void,
    decode: Decode<T>,
    bridge: Bridge,
    signal: AbortSignal,
  ) {
    super(resolve, reject, decode);
    this.#bridge = bridge;
    this.#signal = signal;
  }

  start(connection: number, call: OutgoingCall): void {
    this.#bridge.call(connection, call, this);
    // A getter of the message may have aborted the signal.
    if (this.#signal.aborted) this.aborted();
    else listenToAbort(this.#signal, this);
  }

  aborted(): void {
    this.#bridge.cancel(this);
    this.fail(canceledError(this.#signal));
  }

  override succeed(reader: BatchReader): void {
    unlistenToAbort(this.#signal, this);
    super.succeed(reader);
  }

  override fail(error: TtrpcError): void {
    unlistenToAbort(this.#signal, this);
    super.fail(error);
  }
}
