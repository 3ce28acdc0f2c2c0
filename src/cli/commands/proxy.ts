import { once } from "node:events";
import { connect, createServer, type NetConnectOpts, type Server, type Socket } from "node:net";
import { getSystemErrorMap } from "node:util";
import type { JsonValue } from "@bufbuild/protobuf";
import { parseAddress } from "../../address.js";
import { codeName } from "../../index.js";
import { transportError } from "../../error.js";
import { UsageError } from "../errors.js";
import { jsonLine } from "../output/json.js";
import { Feed } from "../output/feed.js";
import { printError, styled } from "../output/stdout.js";
import { latency } from "../output/units.js";
import { type Decoded, Decoder } from "../proxy/decoder.js";
import { relay } from "../proxy/relay.js";
import { loadRegistry } from "../schema/schema.js";
import type { SchemaOptions } from "../schema/options.js";
import { untilStopped } from "../signals.js";

/** The options of `shimctl proxy`. */
export interface ProxyOptions extends SchemaOptions {
  readonly json?: boolean;
}

/** Passes connections through and prints their frames, until it is stopped. */
export async function proxy(listen: string, target: string, options: ProxyOptions): Promise<void> {
  const registry = await loadRegistry(options);
  const [from, to] = [socketOf(listen), socketOf(target)];
  await probe(to, target);
  const feed = new Feed();
  const show = (event: Event) =>
    feed.write(options.json ? jsonLine(event as unknown as JsonValue) : lineOf(event));
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const connection = ++connections;
    const decoder = new Decoder(registry);
    sockets.add(client);
    const event = <T extends object>(fields: T) => ({
      time: new Date().toISOString(),
      connection,
      ...fields,
    });
    show(event({ event: "open" as const }));
    relay(client, to, {
      frame: (frame, sender) => show(event({ event: "frame" as const, ...decoder.decode(frame, sender) })),
      lost: (sender) => show(event({ event: "lost" as const, from: sender })),
      closed(bytes, error) {
        sockets.delete(client);
        show(event({ event: "close" as const, bytes, ...(error && { error: error.message }) }));
      },
    });
  });
  await untilStopped(async (signal) => {
    const bound = await listenAt(server, from, listen);
    // Not on stdout, which is for frames.
    printError(`listening on ${bound}, passing on to ${target}`);
    if (!signal.aborted) await once(signal, "abort");
    server.close();
    for (const socket of sockets) socket.destroy();
    await once(server, "close");
  });
}

type Event = { readonly time: string; readonly connection: number } & (
  | { readonly event: "open" }
  | ({ readonly event: "frame" } & Decoded)
  | { readonly event: "lost"; readonly from: string }
  | { readonly event: "close"; readonly bytes: { client: number; server: number }; readonly error?: string }
);

function lineOf(event: Event): string {
  const time = styled("dim", new Date(event.time).toTimeString().slice(0, 8) + event.time.slice(19, 23));
  const where = (stream?: number) =>
    styled("dim", stream === undefined ? `${event.connection}` : `${event.connection}:${stream}`);
  switch (event.event) {
    case "open":
      return `${time} ${where()} ${styled("dim", "open")}`;
    case "close": {
      const { client, server } = event.bytes;
      const why = event.error === undefined ? "" : `: ${event.error}`;
      return `${time} ${where()} ${styled("dim", `closed, ${client} bytes →, ${server} bytes ←${why}`)}`;
    }
    case "lost":
      return `${time} ${where()} ${styled("red", `the ${event.from} does not speak ttrpc; its bytes are passed on unread`)}`;
    case "frame":
      return `${time} ${where(event.stream)} ${frameLine(event)}`;
  }
}

const ARROWS = { client: "→", server: "←" } as const;

function frameLine(frame: Decoded): string {
  const { from, type, service, method, latencyMs, status, message, raw, problem } = frame;
  const parts = [styled(from === "client" ? "cyan" : "green", ARROWS[from])];
  if (type !== "request" && type !== "response") parts.push(type);
  if (service !== undefined) parts.push(`${service}/${styled("bold", method ?? "")}`);
  if (frame.metadata !== undefined) parts.push(styled("dim", JSON.stringify(frame.metadata)));
  if (frame.timeoutMs !== undefined) parts.push(styled("dim", `within ${latency(frame.timeoutMs)}`));
  if (latencyMs !== undefined) parts.push(styled("yellow", latency(latencyMs)));
  if (status !== undefined)
    parts.push(styled("red", `${codeName(status.code)} (${status.code}): ${status.message}`));
  for (const detail of status?.details ?? []) parts.push(jsonLine(detail));
  if (message !== undefined) parts.push(jsonLine(message));
  if (raw !== undefined && raw !== "") parts.push(raw);
  if (problem !== undefined) parts.push(styled("red", `(${problem})`));
  if (frame.open) parts.push(styled("dim", "open"));
  if (frame.end && (type === "data" || (message ?? raw ?? status) === undefined))
    parts.push(styled("dim", "end"));
  return parts.join(" ");
}

function socketOf(address: string): NetConnectOpts {
  let parsed: ReturnType<typeof parseAddress>;
  try {
    parsed = parseAddress(address);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  const { kind, name } = parsed.binding!;
  if (kind === "unix") return { path: name! };
  if (kind !== "tcp") throw new UsageError(`proxy passes unix and tcp on, not ${address}`);
  const at = name!.lastIndexOf(":");
  return { host: name!.slice(0, at).replaceAll(/[[\]]/g, ""), port: Number(name!.slice(at + 1)) };
}

/** Fails at once if there is nothing to pass on to. */
async function probe(target: NetConnectOpts, address: string): Promise<void> {
  const socket = connect(target);
  try {
    await once(socket, "connect");
  } catch (error) {
    throw transportError(`cannot connect to ${address}`, -((error as NodeJS.ErrnoException).errno ?? 0));
  } finally {
    socket.destroy();
  }
}

/** For its user only, as a shim's own socket is. */
const PRIVATE = 0o177;

/** Resolves to the address, with the port that the system chose for 0. */
async function listenAt(server: Server, at: NetConnectOpts, address: string): Promise<string> {
  const umask = process.umask(PRIVATE);
  try {
    server.listen(at);
  } finally {
    process.umask(umask);
  }
  try {
    await once(server, "listening");
  } catch (error) {
    const { errno = 0, code = "" } = error as NodeJS.ErrnoException;
    const meaning = getSystemErrorMap().get(errno)?.[1] ?? (error as Error).message;
    throw new UsageError(
      `cannot listen on ${address}: ${code}, ${meaning}`,
      code === "EADDRINUSE" ? "another address; if nobody listens there, remove the file" : undefined,
    );
  }
  const bound = server.address();
  return typeof bound === "object" && bound !== null ? address.replace(/:0$/, `:${bound.port}`) : address;
}
