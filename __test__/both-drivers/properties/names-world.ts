import { once } from "node:events";
import {
  Code,
  connect,
  type Connection,
  createClient,
  createServer,
  type Server,
  TtrpcError,
} from "containerd-shim-protos";
import { Task } from "containerd-shim-protos/task/v3";
import { bytes, deferred, type Deferred, text } from "../../helpers/outcome.js";
import { temporaryAddress } from "../../helpers/temp.js";

/** How a call ends, as a text: its reply, or the code of its error. */
type Outcome = string;

/** A handler that waits until its gate opens, and then replies or fails. */
interface Held {
  readonly gate: Deferred<void>;
}

/** A call that was made, and its outcome according to the model. */
interface Made {
  readonly number: number;
  readonly client: number;
  readonly kind: Kind;
  readonly controller: AbortController;
  readonly outcome: Promise<Outcome>;
  /** The outcome that it must have; undefined while it must wait. */
  expected: Outcome | undefined;
  /** The reader of an unread stream. */
  readonly reader?: AsyncIterator<Uint8Array>;
  /** Makes the requests of the stream fail. The stream may have ended long ago. */
  readonly failRequests?: (reason: Error) => void;
}

export const KINDS = ["held", "held with deadline", "unread", "waiting upload", "ended chat"] as const;
export type Kind = (typeof KINDS)[number];

/** One action. `pick` chooses among the calls that were made. */
export type Step =
  | { readonly do: "call"; readonly client: number; readonly kind: Kind }
  | { readonly do: "burst"; readonly client: number; readonly count: number }
  | { readonly do: "release" | "fail" | "abort" | "leave" | "read" | "break requests"; readonly pick: number }
  | {
      readonly do: "refuse";
      readonly client: number;
      readonly how: "name" | "getter" | "calling getter" | "payload";
    }
  | { readonly do: "new method"; readonly client: number }
  | { readonly do: "reconnect"; readonly client: number };

const CLIENTS = 2;
const METHODS = 400;
const EMPTY = new Uint8Array();

/** The number of calls that getters made. Each calls a new method. */
let refusals = 0;

/**
 * A server and its clients, and a model of each call's outcome. Handlers are held and released by name, so that late
 * ones, those of other clients and those whose caller has gone exist at the same time.
 */
export class World implements AsyncDisposable {
  readonly #server: Server;
  readonly #connections: Connection[] = [];
  readonly #held = new Map<number, Held>();
  readonly #arrived = new Map<number, Deferred<void>>();
  /** Fulfilled when the handler of an unread stream has ended. */
  readonly #listed = new Map<string, Deferred<void>>();
  readonly #made: Made[] = [];
  readonly #broken = new Set<Made>();
  #address = "";
  #number = 0;
  #newMethods = 0;

  private constructor() {
    const named = Object.fromEntries(
      Array.from({ length: METHODS }, (_, index) => [
        `M${index}`,
        { kind: "unary", handle: () => bytes(`M${index}`) } as const,
      ]),
    );
    const listed = this.#listed;
    this.#server = createServer();
    this.#server.add(Task, { state: ({ id }) => ({ id }) });
    this.#server.addRaw("a.B", {
      ...named,
      Echo: { kind: "unary", handle: (payload) => payload },
      Held: { kind: "unary", handle: (payload) => this.#hold(payload) },
      List: {
        kind: "server_streaming",
        async *handle(payload) {
          yield bytes(`first of ${text(payload)}`);
          yield bytes(`last of ${text(payload)}`);
          listed.get(text(payload))?.resolve();
        },
      },
      Upload: {
        kind: "client_streaming",
        handle: async (requests) => {
          let number: Uint8Array = EMPTY;
          for await (const request of requests) number = request;
          return number;
        },
      },
      Chat: { kind: "bidi_streaming", async *handle() {} },
    });
  }

  static async start(): Promise<World> {
    const world = new World();
    world.#address = await world.#server.listen(temporaryAddress());
    for (let client = 0; client < CLIENTS; client++) world.#connections.push(await connect(world.#address));
    return world;
  }

  async #hold(payload: Uint8Array): Promise<Uint8Array> {
    const number = Number(text(payload));
    const gate = deferred();
    this.#held.set(number, { gate });
    this.#arrived.get(number)?.resolve();
    await gate.promise;
    return bytes(`held ${number}`);
  }

  async take(step: Step): Promise<void> {
    switch (step.do) {
      case "call":
        return this.#call(step.client, step.kind);
      case "burst":
        return this.#burst(step.client, step.count);
      case "refuse":
        return this.#refuse(step.client, step.how);
      case "new method":
        return this.#newMethod(step.client);
      case "reconnect":
        return this.#reconnect(step.client);
      default: {
        const calls = this.#made.filter((call) => this.#concerns(call, step.do));
        const call = calls[step.pick % calls.length];
        if (call !== undefined) await this.#to(call, step.do);
      }
    }
  }

  #connection(client: number): Connection {
    return this.#connections[client % CLIENTS]!;
  }

  async #call(client: number, kind: Kind): Promise<void> {
    const number = ++this.#number;
    const connection = this.#connection(client);
    const controller = new AbortController();
    const { signal } = controller;
    const payload = bytes(`${number}`);
    const common = { number, client: client % CLIENTS, kind, controller };
    if (kind === "held" || kind === "held with deadline") {
      const arrived = deferred();
      this.#arrived.set(number, arrived);
      const timeoutMs = kind === "held" ? 0 : 20;
      const outcome = outcomeOf(connection.unary("a.B", "Held", payload, { signal, timeoutMs }));
      const made: Made = { ...common, outcome, expected: undefined };
      this.#made.push(made);
      // On a busy machine a deadline may pass before the request is there.
      await Promise.race([arrived.promise, outcome]);
      if (timeoutMs > 0) {
        await outcome;
        made.expected = `code ${Code.DeadlineExceeded}`;
      }
      return;
    }
    if (kind === "unread") {
      const ended = deferred();
      this.#listed.set(text(payload), ended);
      const reader = connection.serverStreaming("a.B", "List", payload, { signal })[Symbol.asyncIterator]();
      const first = `first of ${number}`;
      const outcome = deferred<Outcome>();
      this.#made.push({
        ...common,
        outcome: outcome.promise,
        expected: undefined,
        reader: tapped(reader, first, outcome),
      });
      // The reply to a call that is made after the handler has ended comes after the stream's end.
      await ended.promise;
      await this.#echo(connection);
      return;
    }
    const failing = deferred<never>();
    failing.promise.catch(() => undefined);
    async function* requests() {
      if (kind === "waiting upload") yield payload;
      await failing.promise;
    }
    if (kind === "waiting upload") {
      const outcome = outcomeOf(connection.clientStreaming("a.B", "Upload", requests(), { signal }));
      this.#made.push({ ...common, outcome, expected: undefined, failRequests: failing.reject });
      await this.#echo(connection);
      return;
    }
    const chat = async () => {
      for await (const message of connection.bidiStreaming("a.B", "Chat", requests(), { signal }))
        return message;
      return bytes("ended");
    };
    const outcome = outcomeOf(chat());
    this.#made.push({ ...common, outcome, expected: "ended", failRequests: failing.reject });
    await outcome;
  }

  /** Whether an action applies to a call. Each applies once, even if the call ended long ago. */
  #concerns(call: Made, what: Extract<Step, { pick: number }>["do"]): boolean {
    if (what === "abort") return !call.controller.signal.aborted;
    if (what === "leave" || what === "read") return call.reader !== undefined && call.expected === undefined;
    if (what === "break requests") return call.failRequests !== undefined && !this.#broken.has(call);
    return this.#held.has(call.number);
  }

  /** Acts on one call, in flight or not. */
  async #to(call: Made, what: Extract<Step, { pick: number }>["do"]): Promise<void> {
    const { number, kind, reader, failRequests, controller } = call;
    const waits = call.expected === undefined;
    if (what === "release" || what === "fail") {
      const held = this.#held.get(number);
      if (held === undefined) return;
      this.#held.delete(number);
      if (what === "release") held.gate.resolve();
      else held.gate.reject(new Error(`the secret of ${number}`));
      if (waits)
        call.expected =
          what === "release" ? `held ${number}` : `code ${Code.Unknown}: the secret of ${number}`;
    } else if (what === "abort") {
      controller.abort();
      // A stream that has ended cannot be aborted, even if it was not read.
      if (waits && kind !== "unread") call.expected = `code ${Code.Canceled}`;
    } else if (what === "leave" && reader !== undefined) {
      await reader.return?.();
      if (waits) call.expected = "left";
    } else if (what === "read" && reader !== undefined) {
      if (waits) call.expected = "read";
      while ((await reader.next()).done !== true);
    } else if (what === "break requests" && failRequests !== undefined) {
      this.#broken.add(call);
      failRequests(new Error("boom"));
      if (waits) call.expected = `code ${Code.Canceled}`;
    }
    if (call.expected !== undefined) await this.#settled(call);
  }

  /** Makes `count` calls at once. Each must get its own reply. */
  async #burst(client: number, count: number): Promise<void> {
    const connection = this.#connection(client);
    const payloads = Array.from({ length: count }, () => `${++this.#number}`);
    const replies = await within(
      Promise.all(payloads.map((payload) => connection.unary("a.B", "Echo", bytes(payload)).then(text))),
      "a burst of calls",
    );
    equal(replies.join(), payloads.join(), "the replies of a burst");
  }

  async #refuse(client: number, how: Extract<Step, { do: "refuse" }>["how"]): Promise<void> {
    const connection = this.#connection(client);
    const task = createClient(Task, connection);
    const refused = {
      name: () => connection.unary("x".repeat(3 << 20), "M", EMPTY),
      getter: () =>
        task.state({
          get id(): string {
            throw new TypeError("no id");
          },
        }),
      "calling getter": () =>
        task.state({
          get id(): string {
            void connection.unary("a.B", `M${METHODS - ++refusals}`, EMPTY).catch(() => undefined);
            throw new TypeError("no id");
          },
        }),
      payload: () => connection.unary("a.B", "Echo", new Uint8Array((4 << 20) + 1)),
    }[how];
    const outcome = await within(
      outcomeOf(refused().then(() => EMPTY)),
      `a call that is refused for its ${how}`,
    );
    if (!outcome.startsWith("code ") && !outcome.startsWith("TypeError"))
      throw new Error(`not refused: ${outcome}`);
  }

  async #newMethod(client: number): Promise<void> {
    const method = `M${this.#newMethods++ % METHODS}`;
    const reply = await within(this.#connection(client).unary("a.B", method, EMPTY), `a call of ${method}`);
    equal(text(reply), method, "the method that was reached");
  }

  async #reconnect(client: number): Promise<void> {
    const index = client % CLIENTS;
    await within(this.#connection(index).close(), "the close of a connection");
    for (const call of this.#made) {
      if (call.client !== index || call.expected !== undefined) continue;
      // Messages that had arrived can still be read.
      if (call.kind !== "unread") call.expected = `code ${Code.Unavailable}`;
    }
    this.#connections[index] = await connect(this.#address);
  }

  async #echo(connection: Connection): Promise<void> {
    const payload = `${++this.#number}`;
    equal(text(await within(connection.unary("a.B", "Echo", bytes(payload)), "an echo")), payload, "an echo");
  }

  async #settled(call: Made): Promise<void> {
    const what = `call ${call.number} (${call.kind})`;
    equal(await within(call.outcome, what), call.expected, what);
  }

  /** The calls whose outcome is not the model's. Calls that still wait are ended first, and must get their own answer. */
  async wrongOutcomes(): Promise<string[]> {
    for (const call of this.#made) {
      if (call.expected !== undefined) continue;
      if (call.kind === "held") await this.#to(call, "release");
      else if (call.kind === "unread") await this.#to(call, "read");
      else await this.#to(call, "abort");
    }
    const wrong: string[] = [];
    for (const call of this.#made) {
      await this.#settled(call).catch((error: unknown) => wrong.push(String(error)));
    }
    for (const { gate } of this.#held.values()) gate.resolve();
    return wrong;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.#connections) await connection.close();
    await this.#server.close({ graceMs: 0 });
  }
}

/** A reader that reports its end, or that it was left. Only its own messages may arrive. */
function tapped(
  reader: AsyncIterator<Uint8Array>,
  first: string,
  outcome: Deferred<Outcome>,
): AsyncIterator<Uint8Array> {
  const seen: string[] = [];
  return {
    async next() {
      const result = await reader.next();
      if (result.done === true) {
        const whole = seen.length === 0 || (seen.length === 2 && seen[0] === first);
        outcome.resolve(whole ? "read" : `wrong messages: ${seen.join()}`);
      } else seen.push(text(result.value));
      return result;
    },
    async return() {
      const result = await reader.return?.();
      outcome.resolve("left");
      return result ?? { done: true, value: undefined };
    },
  };
}

async function outcomeOf(call: Promise<Uint8Array>): Promise<Outcome> {
  try {
    return text(await call);
  } catch (error) {
    if (error instanceof TypeError) return `TypeError: ${error.message}`;
    if (!(error instanceof TtrpcError)) throw error;
    return error.code === Code.Unknown ? `code ${error.code}: ${error.rawMessage}` : `code ${error.code}`;
  }
}

/** The value of a promise; an error if it does not settle in ten seconds. */
async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  const timeout = AbortSignal.timeout(10_000);
  const late = once(timeout, "abort").then(() => {
    throw new Error(`${what} never settled`);
  });
  late.catch(() => undefined);
  return Promise.race([promise, late]);
}

function equal(actual: unknown, expected: unknown, what: string): void {
  if (actual !== expected) throw new Error(`${what}: ${String(actual)}, not ${String(expected)}`);
}
