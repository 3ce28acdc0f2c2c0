/**
 * The job that a client gets and the result that it returns, each a line of JSON. The Rust and Go peers use the same
 * format.
 */

/** The work to repeat. */
export type Work =
  /** `test.Bench/Echo`, with bytes. */
  | "unary"
  /** `Events/Forward`, with a message that is encoded each time. */
  | "forward"
  /** `test.Bench/Sink`, a stream to the server. */
  | "sink"
  /** `test.Bench/Source`, a stream from the server. */
  | "source"
  /** `test.Bench/Chat`, a stream both ways: each message comes back. */
  | "chat";

/** One measurement. */
export interface Job {
  readonly work: Work;
  /** `unix:///path` */
  readonly address: string;
  /** The size of a payload, in bytes. */
  readonly size: number;
  /** Calls, or messages of a chat, in flight, over all connections. */
  readonly inflight: number;
  readonly connections: number;
  /** How long to run first without measuring. */
  readonly warmupMs: number;
  readonly durationMs: number;
}

/** The result of a measurement. */
export interface Result {
  /** Calls or messages a second. */
  readonly perSecond: number;
  /** Latency of a call; null for streams. */
  readonly p50Us: number | null;
  readonly p99Us: number | null;
  /** CPU time per call or message: of the calling thread, or of the process in Go. */
  readonly cpuUs: number;
  /** Calls that a server refused; any other failure ends the run. */
  readonly failed: number;
}

/** The service of the benchmark. */
export const SERVICE = "test.Bench";
/** The service that takes events. */
export const EVENTS = "containerd.services.events.ttrpc.v1.Events";
