import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { fromBinary } from "@bufbuild/protobuf";
import { Events } from "containerd-shim-protos/events";
import { registry } from "containerd-shim-protos/registry";
import { decodeFrame, decodeRequest, decodeResponse, type Frame, FrameType } from "../../helpers/wire.js";
import type { Containerd } from "../containerd.js";
import { type Shown, show } from "./show.js";

const WRAPPER = fileURLToPath(new URL("shim.mjs", import.meta.url));

/** A recorded call with its answer. */
export interface RecordedCall {
  readonly method: string;
  readonly request: Shown;
  reply?: Shown;
}

/** A recorded event. */
export interface RecordedEvent {
  readonly topic: string;
  readonly event: Shown;
}

/**
 * Records the conversation of containerd and a shim. A stand-in program starts the shim and then puts this recorder in
 * between: the shim's socket gets another name, and the recorder listens in its place.
 */
export class Recorder implements AsyncDisposable {
  /** The argument for `ctr run --runtime`. */
  readonly runtime: string;
  readonly #folder: string;
  readonly #servers: Server[] = [];
  readonly #renamed: string[] = [];
  readonly #sockets = new Set<Socket>();
  #calls: RecordedCall[] = [];
  #events: RecordedEvent[] = [];

  private constructor(runtime: string, folder: string) {
    this.runtime = runtime;
    this.#folder = folder;
  }

  /** Resolves when shims can be started. `name` becomes part of the runtime's name. */
  static async start(containerd: Containerd, name: string, shim: string): Promise<Recorder> {
    const folder = join(containerd.folder, name);
    mkdirSync(folder, { recursive: true });
    const control = join(folder, "r");
    const runtime = join(folder, `containerd-shim-${name}-v1`);
    const command = [process.execPath, WRAPPER, shim, control].map((word) => `'${word}'`).join(" ");
    writeFileSync(runtime, `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o755 });
    const recorder = new Recorder(runtime, folder);
    await recorder.#listen(control, (socket) => void recorder.#shimStarted(socket));
    await recorder.#listen(`${control}.events`, (socket) => recorder.#tee(socket, containerd.eventsAddress));
    return recorder;
  }

  /** The calls and events since the last call. */
  take(): { calls: RecordedCall[]; events: RecordedEvent[] } {
    const taken = { calls: this.#calls, events: this.#events };
    this.#calls = [];
    this.#events = [];
    return taken;
  }

  async #shimStarted(socket: Socket): Promise<void> {
    const path = (await socket.setEncoding("utf8").toArray()).join("");
    renameSync(path, `${path}.r`);
    this.#renamed.push(`${path}.r`);
    const server = await this.#listen(path, (containerd) => {
      // A shim removes its socket when it ends, and the next of this name must not find this one.
      this.#tee(containerd, `${path}.r`).once("close", () => server.close());
    });
    socket.end();
  }

  async #listen(path: string, accept: (socket: Socket) => void): Promise<Server> {
    const server = createServer({ allowHalfOpen: true }, accept);
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return server;
  }

  #tee(client: Socket, path: string): Socket {
    const server = createConnection(path);
    const calls = new Map<number, RecordedCall>();
    client
      .on(
        "data",
        eachFrame((frame) => this.#request(frame, calls)),
      )
      .pipe(server);
    server
      .on(
        "data",
        eachFrame((frame) => this.#response(frame, calls)),
      )
      .pipe(client);
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on("error", () => undefined);
      socket.once("close", () => {
        client.destroy();
        server.destroy();
      });
    }
    return server;
  }

  #request({ type, streamId, body }: Frame, calls: Map<number, RecordedCall>): void {
    if (type !== FrameType.Request) return;
    const { service, method, payload } = decodeRequest(body);
    const descriptor = registry.getService(service)?.methods.find(({ name }) => name === method);
    if (descriptor === undefined) throw new Error(`${service}/${method} is not known`);
    const message = fromBinary(descriptor.input, payload);
    if (service === Events.typeName) {
      const { envelope } = message as unknown as { envelope: { topic: string; event: unknown } };
      this.#events.push({ topic: envelope.topic, event: show(envelope.event, this.#folder) });
      return;
    }
    const call: RecordedCall = { method, request: show(message, this.#folder) };
    calls.set(streamId, Object.assign(call, { output: descriptor.output }));
    this.#calls.push(call);
  }

  #response({ type, streamId, body }: Frame, calls: Map<number, RecordedCall>): void {
    const call = calls.get(streamId);
    if (type !== FrameType.Response || call === undefined) return;
    const { status, payload } = decodeResponse(body);
    const { output } = call as RecordedCall & { output: Parameters<typeof fromBinary>[0] };
    call.reply =
      status.code === 0
        ? show(fromBinary(output, payload), this.#folder)
        : { code: status.code, message: show(status.message, this.#folder) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(this.#servers.map((server) => new Promise((resolve) => server.close(resolve))));
    // A shim removes the file at the path that it has bound.
    for (const path of this.#renamed) rmSync(path, { force: true });
  }
}

/** Splits a stream, whose chunks may end anywhere, into frames. */
function eachFrame(take: (frame: Frame) => void): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    for (let next = decodeFrame(rest); next !== undefined; next = decodeFrame(rest)) {
      rest = next.rest;
      take(next.frame);
    }
  };
}
