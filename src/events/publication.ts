import type { TtrpcError } from "../error.js";
import { ForwardCall } from "./forward-call.js";

/** An event that was published, and the promise of its delivery. */
export class Publication extends ForwardCall {
  readonly result: Promise<void>;
  readonly #whenSettled: (publication: Publication, error: TtrpcError | undefined) => void;
  #resolve!: () => void;
  #reject!: (error: TtrpcError) => void;

  constructor(
    payload: Uint8Array,
    metadata: ForwardCall["metadata"],
    expiresAt: number,
    whenSettled: (publication: Publication, error: TtrpcError | undefined) => void,
  ) {
    super(payload, metadata, 0, expiresAt);
    this.#whenSettled = whenSettled;
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  settled(error: TtrpcError | undefined): void {
    this.#whenSettled(this, error);
  }

  delivered(): void {
    this.#resolve();
  }

  /** Rejects the promise, which nobody has to await. */
  givenUp(error: TtrpcError): void {
    this.result.catch(() => undefined);
    this.#reject(error);
  }
}
