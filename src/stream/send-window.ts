/**
 * How far a sender may be ahead of the socket, in bytes. With a slow peer the socket fills up first, then Rust holds
 * the messages given to it, and then the window is full and the sender waits.
 */
export class SendWindow {
  #outstanding = 0;
  #closed = false;
  #waiting: (() => void) | undefined;

  /** Counts a message that was handed to Rust. */
  add(bytes: number): void {
    this.#outstanding += bytes + MESSAGE_COST;
  }

  /** Messages have left for the socket. */
  sent(messages: number, bytes: number): void {
    this.#outstanding -= bytes + messages * MESSAGE_COST;
    if (this.#outstanding < WINDOW) this.#open();
  }

  /** Nothing more is sent. Wakes a waiting sender, so that it notices. */
  close(): void {
    this.#closed = true;
    this.#open();
  }

  /** Undefined if there is room; otherwise a promise that resolves when there is. One sender waits at a time. */
  room(): Promise<void> | undefined {
    if (this.#closed || this.#outstanding < WINDOW) return undefined;
    return new Promise((resolve) => {
      this.#waiting = resolve;
    });
  }

  #open(): void {
    this.#waiting?.();
    this.#waiting = undefined;
  }
}

const WINDOW = 1 << 20;

/** What a message costs in addition to its bytes, so that empty ones count too. */
const MESSAGE_COST = 64;
