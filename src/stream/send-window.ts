/**
 * How far a sender may be ahead of the socket, in bytes. A slow peer lets the socket fill up, then Rust holds what was
 * given to it, and then the window is full and `send` waits.
 */
export class SendWindow {
  #outstanding = 0;
  #closed = false;
  #waiting: (() => void) | undefined;

  /** Counts a message that was given to Rust. */
  add(bytes: number): void {
    this.#outstanding += bytes + MESSAGE_COST;
  }

  /** Messages have left. */
  sent(messages: number, bytes: number): void {
    this.#outstanding -= bytes + messages * MESSAGE_COST;
    if (this.#outstanding < WINDOW) this.#open();
  }

  /** Nothing is sent any more: those that wait go on, to find out. */
  close(): void {
    this.#closed = true;
    this.#open();
  }

  /** Undefined if there is room; otherwise resolves when there is. One sender waits at a time. */
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

/** What a message takes besides its bytes, so that empty ones count too. */
const MESSAGE_COST = 64;
