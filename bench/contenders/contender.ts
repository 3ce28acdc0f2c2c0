/** The interface of JavaScript contenders, so that the same code drives all of them. */

type Bytes = Uint8Array;

/** A client of one connection. */
export interface BenchClient {
  unary(payload: Bytes): Promise<Bytes>;
  /** Sends an event, which this call encodes. */
  forward(index: number): Promise<unknown>;
  sink(messages: AsyncIterable<Bytes>): Promise<Bytes>;
  source(request: Bytes): AsyncIterable<Bytes>;
  chat(messages: AsyncIterable<Bytes>): AsyncIterable<Bytes>;
  /** Frees the memory of a payload that was read. */
  readonly release?: ((payload: Bytes) => void) | undefined;
  close(): Promise<void> | void;
}

/** A client and a server. */
export interface Contender {
  /** Connects to a unix socket. */
  connect(path: string): Promise<BenchClient>;
  /** Serves the handlers of {@link handlersOf} at a unix socket. */
  serve(path: string): Promise<void>;
}
