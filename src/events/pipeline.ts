import { clearTimeout, setTimeout } from "node:timers";
import { currentMs } from "../clock.js";
import { nextTick } from "../next-tick.js";
import { Code } from "../code.js";
import { type CallSite, named } from "../client/call-site.js";
import { connect } from "../client/connect.js";
import type { Connection } from "../client/connection.js";
import { clientCalls } from "../diagnostics.js";
import { TtrpcError } from "../error.js";
import { LONGEST_TIMER_MS } from "../options.js";
import { bridgeOf } from "../native/bridge.js";
import { fulfilledWithin } from "../pause.js";
import { Fifo } from "./fifo.js";
import { NO_BYTES, type ForwardCall, type ForwardCallOwner } from "./forward-call.js";
import type { Driver } from "../connection-types.js";
import { Events } from "../protos/generated/containerd/services/events/ttrpc/v1/events_pb.js";

/** Options of a pipeline. */
export interface PipelineOptions {
  /** What turns its connections. */
  readonly driver: Driver;
  /** Calls in flight at once. */
  readonly maxInFlight: number;
  /** Milliseconds that one attempt may take, or infinity. */
  readonly timeoutMs: number;
  /** Whether a call that failed with this error is retried. */
  readonly retries: (error: TtrpcError) => boolean;
}

const CONNECT_TIMEOUT_MS = 5000;
const FIRST_DELAY_MS = 20;
const LONGEST_DELAY_MS = 1000;

/** Parcels sent together: the server works on these while the next are prepared. */
const BUNDLE = 128;

/**
 * Sends calls in order to one address, and retries those that failed. It connects when there is something to send, and
 * reconnects when the connection is lost or a call had no answer.
 *
 * Failures keep the order: after one, nothing is sent until every call in flight has its outcome. Then the failed calls
 * are sent again, first to last. A call fails for good if a later one of its lane was delivered, because sending it now
 * would change the order.
 */
export class Pipeline implements ForwardCallOwner {
  readonly #address: string;
  readonly #options: PipelineOptions;
  readonly #timeoutNs: number;
  readonly #route: number;
  readonly #site: CallSite;
  readonly #queue = new Fifo<ForwardCall>(({ state }) => state === "waiting");
  /** How many at the front were sent, or settled behind one that was. */
  #sent = 0;
  #flying = 0;
  #connection: Connection | undefined;
  #opening = false;
  #recovering = false;
  /** A call had no answer in its time. */
  #unanswered = false;
  #scheduled = false;
  #closed: TtrpcError | undefined;
  /** Ends an attempt to connect. */
  readonly #ending = new AbortController();
  #delayMs = FIRST_DELAY_MS;
  #wake: (() => void) | undefined;
  #idle: (() => void) | undefined;
  #outcomes: ForwardCall[] = [];

  constructor(address: string, options: PipelineOptions) {
    this.#address = address;
    this.#options = options;
    this.#timeoutNs = nanoseconds(options.timeoutMs);
    const bridge = bridgeOf(options.driver);
    this.#route = bridge.route(Events.typeName, "Forward");
    this.#site = { bridge, address };
  }

  /** Parcels that have no outcome. */
  get length(): number {
    return this.#queue.length;
  }

  push(call: ForwardCall): void {
    this.#queue.push(call);
    this.#schedule();
  }

  /** Gives a call up that was not sent yet; returns whether it was not. */
  cancel(call: ForwardCall): boolean {
    if (call.state !== "waiting") return false;
    call.state = "settled";
    return true;
  }

  /** Resolves when every call has its outcome; those that have none after `graceMs` fail with `error`. */
  async close(graceMs: number, error: TtrpcError): Promise<void> {
    if (this.#queue.length > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(graceMs, LONGEST_TIMER_MS));
        this.#idle = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#closed = error;
    this.#ending.abort();
    this.#wake?.();
    await this.#connection?.close();
    const left = this.#queue.clear();
    this.#sent = 0;
    for (const call of left) settle(call, call.error === undefined ? error : cutOff(error, call.error));
  }

  /** In a tick of its own: outcomes come while a batch is read, and many come at once. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    nextTick(() => {
      this.#scheduled = false;
      this.#pump();
    });
  }

  #pump(): void {
    const outcomes = this.#outcomes;
    if (outcomes.length > 0) {
      this.#outcomes = [];
      for (const call of outcomes) this.#judge(call);
      this.#dropSettled();
    }
    if (this.#closed !== undefined) return;
    if (this.#recovering) {
      if (this.#flying === 0) this.#recover();
      return;
    }
    this.#sendOn();
    this.#dropSettled();
  }

  #sendOn(): void {
    const { maxInFlight } = this.#options;
    const now = currentMs();
    let sent = 0;
    // What fails at once is judged first: nothing is to be sent behind it.
    while (this.#outcomes.length === 0 && this.#flying < maxInFlight && this.#sent < this.#queue.length) {
      if (this.#connection === undefined) {
        void this.#open();
        return;
      }
      const call = this.#queue.at(this.#sent++);
      if (call?.state === "waiting") this.#send(call, this.#connection, now);
      if (++sent % BUNDLE === 0) this.#connection.bridge.flush();
    }
  }

  #send(call: ForwardCall, connection: Connection, now: number): void {
    const left = call.expiresAt - now;
    if (left <= 0) {
      settle(call, expired(call));
      return;
    }
    const timeoutNs = left < this.#options.timeoutMs ? nanoseconds(left) : this.#timeoutNs;
    const fields = { timeoutNs, metadata: call.metadata, cancellable: false };
    call.state = "sent";
    call.owner = this;
    this.#flying++;
    if (clientCalls.active) call.trace = clientCalls.start(connection.messageOf(this.#route, "unary"));
    try {
      connection.start({ route: this.#route, fields, payload: call.payload }, call);
    } catch (error) {
      // It ended, and that was not heard of yet; or the message is too large.
      call.fail(TtrpcError.from(error));
    }
  }

  landed(call: ForwardCall): void {
    this.#flying--;
    this.#outcomes.push(call);
    this.#schedule();
  }

  #judge(call: ForwardCall): void {
    const { error, trace } = call;
    if (error !== undefined) named(error, this.#site, this.#route);
    if (trace !== undefined) {
      call.trace = undefined;
      clientCalls.end(trace, call.state === "delivered" ? {} : { error });
    }
    if (call.state === "delivered") {
      this.#delayMs = FIRST_DELAY_MS;
      call.settled(undefined, call.reply);
    } else if (error === undefined || !this.#options.retries(error)) settle(call, error);
    else {
      this.#recovering = true;
      if (error.code === Code.DeadlineExceeded) this.#unanswered = true;
    }
  }

  #dropSettled(): void {
    for (let first = this.#queue.at(0); first !== undefined; first = this.#queue.at(0)) {
      if (first.state !== "delivered" && first.state !== "settled") break;
      this.#queue.shift();
      if (this.#sent > 0) this.#sent--;
    }
    if (this.#queue.length === 0) this.#idle?.();
  }

  /** All that was sent has an outcome. What is to be sent again goes back among what waits, unless it is too late. */
  #recover(): void {
    if (this.#unanswered) this.#leaveConnection();
    const delivered = new Set<number>();
    for (let index = this.#sent - 1; index >= 0; index--) {
      const call = this.#queue.at(index);
      if (call?.state === "delivered") delivered.add(call.lane);
      else if (call?.state === "failed") {
        if (delivered.has(call.lane)) settle(call, overtaken(call));
        else call.state = "waiting";
      }
    }
    this.#queue.sweep();
    this.#sent = 0;
    if (this.#queue.length === 0) {
      this.#recovering = false;
      this.#idle?.();
      return;
    }
    void this.#pause().then(() => {
      this.#recovering = false;
      this.#schedule();
    });
  }

  /**
   * The peer may be a process that hangs, in whose place another listens by now: what is sent again goes to whoever is there. No
   * call is in flight.
   */
  #leaveConnection(): void {
    this.#unanswered = false;
    void this.#connection?.close();
    this.#connection = undefined;
  }

  /** Waits before the next try; a longer time each time, but not longer than the first call has. */
  #pause(): Promise<void> {
    const now = currentMs();
    this.#dropExpired(now);
    const first = this.#queue.at(0);
    const delay = Math.min(this.#delayMs, Math.max((first?.expiresAt ?? now) - now, 1));
    this.#delayMs = Math.min(this.#delayMs * 2, LONGEST_DELAY_MS);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, delay);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Gives up what is too late; `why` nothing was sent is its cause if it was not tried before. */
  #dropExpired(now: number, why?: TtrpcError): void {
    for (let index = 0; index < this.#queue.length; index++) {
      const call = this.#queue.at(index);
      if (call?.state !== "waiting" || call.expiresAt > now) continue;
      call.error ??= why;
      settle(call, expired(call));
    }
    this.#dropSettled();
  }

  async #open(): Promise<void> {
    if (this.#opening) return;
    this.#opening = true;
    while (this.#connection === undefined && this.#queue.length > 0 && this.#closed === undefined) {
      try {
        const connection = await this.#connected();
        if (this.#closed !== undefined) await connection.close();
        else this.#use(connection);
      } catch (reason) {
        if (this.#closed !== undefined) break;
        const error = TtrpcError.from(reason);
        for (let index = 0; index < this.#queue.length; index++) {
          const call = this.#queue.at(index);
          if (call?.state === "waiting") call.error = error;
        }
        await this.#pause();
      }
    }
    this.#opening = false;
    this.#schedule();
  }

  /** Resolves with a connection. Calls are given up on time, however long the attempt takes. */
  async #connected(): Promise<Connection> {
    const attempt = connect(this.#address, {
      driver: this.#options.driver,
      connectTimeoutMs: Math.min(this.#options.timeoutMs, CONNECT_TIMEOUT_MS),
      signal: this.#ending.signal,
    });
    for (;;) {
      const { expiresAt = Number.POSITIVE_INFINITY } = this.#queue.at(0) ?? {};
      if (await fulfilledWithin(attempt, Math.max(expiresAt - currentMs(), FIRST_DELAY_MS))) return attempt;
      const text = `the attempt to connect to ${this.#address} has not ended`;
      this.#dropExpired(currentMs(), new TtrpcError(text, Code.Unavailable));
    }
  }

  #use(connection: Connection): void {
    this.#connection = connection;
    void connection.closed.then(() => {
      if (this.#connection === connection) this.#connection = undefined;
    });
  }
}

/** A timeout as it crosses; 0 is none. */
function nanoseconds(ms: number): number {
  return ms === Number.POSITIVE_INFINITY ? 0 : Math.ceil(ms * 1e6);
}

function settle(call: ForwardCall, error: TtrpcError | undefined): void {
  if (call.state === "settled" || call.state === "delivered") return;
  call.state = "settled";
  call.settled(error ?? new TtrpcError("the event was not delivered"), NO_BYTES);
}

function expired({ error: cause }: ForwardCall): TtrpcError {
  const text = "the event was not delivered in time";
  return new TtrpcError(cause === undefined ? text : `${text}: ${cause.rawMessage}`, Code.DeadlineExceeded, {
    cause,
  });
}

/** Of a call that was tried: why it had not succeeded when the end came. */
function cutOff({ rawMessage, code }: TtrpcError, cause: TtrpcError): TtrpcError {
  return new TtrpcError(`${rawMessage}, and before that: ${cause.rawMessage}`, code, { cause });
}

function overtaken({ error: cause }: ForwardCall): TtrpcError {
  const text = "a later event was delivered, and this one may not come behind it";
  return new TtrpcError(`${text}: ${cause?.rawMessage ?? ""}`, Code.Aborted, { cause });
}
