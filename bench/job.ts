/** What a client is told to measure and what it answers, each a line of JSON: the peers in Rust and Go read the same. */

/** What to do over and over. */
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
  /** The bytes of a payload. */
  readonly size: number;
  /** Calls, or messages of a chat, in flight, over all connections. */
  readonly inflight: number;
  readonly connections: number;
  /** How long to do it first, unmeasured. */
  readonly warmupMs: number;
  readonly durationMs: number;
}

/** What was measured. */
export interface Result {
  /** Calls or messages a second. */
  readonly perSecond: number;
  /** Latency of a call; null for streams. */
  readonly p50Us: number | null;
  readonly p99Us: number | null;
  /** CPU time a call or message: of the calling thread, in Go of the process. */
  readonly cpuUs: number;
  /** Calls that a server refused; any other failure ends the run. */
  readonly failed: number;
}

/** The service of the benchmark. */
export const SERVICE = "test.Bench";
/** The service that takes events. */
export const EVENTS = "containerd.services.events.ttrpc.v1.Events";
