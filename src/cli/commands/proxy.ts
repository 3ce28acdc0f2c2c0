import { once } from "node:events";
import { createServer, type NetConnectOpts, type Server, type Socket } from "node:net";
import { constants } from "node:os";
import { getSystemErrorName } from "node:util";
import { type ParsedAddress, parseAddress } from "../../address.js";
import { transportError } from "../../error.js";
import { loadNative } from "../../native/addon.js";
import { reclaimStale, socketPath } from "../../server/socket-file.js";
import { UsageError } from "../errors.js";
import { listeningError, removedAtExit } from "../listening.js";
import { Feed } from "../output/feed.js";
import { jsonLine } from "../output/json.js";
import { rawOf } from "../output/raw.js";
import { printError, styledError } from "../output/stdout.js";
import type { Text } from "../output/text.js";
import { Decoder, type Sender } from "../proxy/decoder.js";
import { dialOf, probe, socketOf } from "../proxy/dial.js";
import { eventLine, type Happening } from "../proxy/event-line.js";
import type { Frame } from "../proxy/frames.js";
import { relay } from "../proxy/relay.js";
import type { SchemaOptions } from "../schema/options.js";
import { loadRegistry } from "../schema/schema.js";
import { untilStopped } from "../signals.js";
import { targetOf, type TargetOptions } from "../target.js";

/** The options of `shimctl proxy`. */
export interface ProxyOptions extends SchemaOptions, TargetOptions {
  readonly json?: boolean;
  readonly emitDefaults?: boolean;
  /** Whether long messages are printed to their ends. */
  readonly full?: boolean;
}

/** Passes connections through and prints their frames, until it is stopped. */
export async function proxy(listen: string, target: string, options: ProxyOptions): Promise<void> {
  const registry = await loadRegistry(options);
  const [at, to] = [parsed(listen), parsed(targetOf(target, options).address)];
  const [here, dial] = [socketOf(at), dialOf(to)];
  if (here === undefined)
    throw new UsageError(`proxy listens only on unix and tcp addresses, not ${at.text}`);
  if (dial === undefined) {
    throw new UsageError(`proxy connects only to unix, tcp and hvsock addresses, not ${to.text}`);
  }
  await probe(dial, to);
  const feed = new Feed();
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const connection = ++connections;
    const decoder = new Decoder({ registry, emitDefaults: options.emitDefaults });
    sockets.add(client);
    const tell = (what: Happening) => feed.write(lineOf(what, connection, options));
    tell({ event: "open" });
    relay(client, dial, {
      frame: (frame, sender) => feed.write(frameOf(frame, sender, decoder, connection, options)),
      lost: (sender) => tell({ event: "lost", from: sender }),
      closed(bytes, error) {
        sockets.delete(client);
        tell({ event: "close", bytes, ...(error && { error: error.message }) });
      },
    });
  });
  await untilStopped(async (signal) => {
    const { bound, removeFile } = await listenAt(server, at, here);
    // For example, too many open files. The connections that exist continue.
    server.on("error", ({ message }) => printError(styledError("red", `shimctl: ${message}`)));
    // Not on stdout, which is for frames.
    printError(`listening on ${bound}, forwarding to ${to.text}`);
    if (!signal.aborted) await once(signal, "abort");
    removeFile();
    server.close();
    for (const socket of sockets) socket.destroy();
    await once(server, "close");
    feed.end();
  });
}

/** The characters of a message that are shown, unless all are asked for. */
const MOST_SHOWN = 400;

function lineOf(what: Happening, connection: number, { json, full }: ProxyOptions): Text {
  const event = { time: new Date().toISOString(), connection, ...what };
  return json ? jsonLine({ ...event }) : eventLine(event, full ? Number.POSITIVE_INFINITY : MOST_SHOWN);
}

/** A frame in one line; with its bytes if it cannot be formatted. */
function frameOf(
  frame: Frame,
  from: Sender,
  decoder: Decoder,
  connection: number,
  options: ProxyOptions,
): Text {
  try {
    return lineOf({ event: "frame", ...decoder.decode(frame, from) }, connection, options);
  } catch (error) {
    const { streamId: stream, size, body = new Uint8Array() } = frame;
    const raw = { stream, from, type: "unknown", size, ...rawOf(body, error) } as const;
    return lineOf({ event: "frame", ...raw }, connection, options);
  }
}

function parsed(address: string): ParsedAddress {
  try {
    return parseAddress(address);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/** Only the owner may connect, as to a shim's own socket. */
const PRIVATE = 0o600;

/** Listens; resolves to the address, with the port that the system chose for 0, and to what removes its file. */
async function listenAt(
  server: Server,
  address: ParsedAddress,
  at: NetConnectOpts,
): Promise<{ readonly bound: string; removeFile(): void }> {
  const path = socketPath(address);
  // Node removes a path that it has bound, whatever the file there is in the end.
  server.listen(path === undefined ? at : { fd: listenerAt(path, address) });
  const removeFile = path === undefined ? () => undefined : removedAtExit(path);
  try {
    await once(server, "listening");
  } catch (error) {
    throw cannotListen(address, (error as NodeJS.ErrnoException).errno ?? 0);
  }
  const bound = server.address();
  const isTcp = typeof bound === "object" && bound !== null;
  return { bound: isTcp ? address.text.replace(/:0$/, `:${bound.port}`) : address.text, removeFile };
}

/** Listens at a path, also in place of a stale file. Returns the descriptor. */
function listenerAt(path: string, address: ParsedAddress): number {
  const listen = () => loadNative().listenAt(path, PRIVATE);
  let result = listen();
  if (result === -constants.errno.EADDRINUSE && reclaimStale(address)) result = listen();
  if (result < 0) throw cannotListen(address, result);
  // Node owns it from now on.
  loadNative().giveUpDescriptor(result);
  return result;
}

function cannotListen(address: ParsedAddress, errno: number): UsageError {
  const { message } = transportError(`cannot listen on ${address.text}`, -errno);
  return listeningError(address.text, message, errno === 0 ? "" : getSystemErrorName(errno));
}
