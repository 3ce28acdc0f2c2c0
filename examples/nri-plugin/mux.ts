import { Duplex } from "node:stream";

/** The connection on which the runtime calls the plugin. */
export const PLUGIN_SERVICE = 1;
/** The connection on which the plugin calls the runtime. */
export const RUNTIME_SERVICE = 2;

/** A frame's header: the connection's id and the payload's length, 32 bits each, in network byte order. */
const HEADER_SIZE = 8;
/** The size of the buffer that Go's ttrpc reads into. NRI's mux fails for a longer payload. */
const FRAME_LIMIT = 4096;

/** NRI's connections over one socket. */
export class Mux {
  readonly #trunk: Duplex;
  readonly #connections = new Map<number, Duplex>();
  #header = Buffer.alloc(0);
  #target: Duplex | undefined;
  #left = 0;

  constructor(trunk: Duplex) {
    this.#trunk = trunk;
    trunk.on("data", (chunk: Buffer) => this.#received(chunk));
    const end = (error?: Error) => {
      for (const connection of this.#connections.values()) connection.destroy(error);
    };
    trunk.once("error", end);
    trunk.once("close", () => end());
  }

  /** One of the connections, for `connect` or `server.listen`. */
  open(id: number): Duplex {
    const connection = new Duplex({
      read: () => void this.#trunk.resume(),
      write: (chunk: Buffer, _encoding, done) => this.#send(id, chunk, done),
    });
    this.#connections.set(id, connection);
    return connection;
  }

  #send(id: number, chunk: Buffer, done: (error?: Error | null) => void): void {
    for (let start = 0; start < chunk.length; start += FRAME_LIMIT) {
      const payload = chunk.subarray(start, start + FRAME_LIMIT);
      const header = Buffer.alloc(HEADER_SIZE);
      header.writeUInt32BE(id, 0);
      header.writeUInt32BE(payload.length, 4);
      this.#trunk.write(header);
      const last = start + FRAME_LIMIT >= chunk.length;
      this.#trunk.write(payload, last ? done : undefined);
    }
  }

  #received(chunk: Buffer): void {
    let rest = chunk;
    while (rest.length > 0) {
      if (this.#left === 0) {
        const missing = HEADER_SIZE - this.#header.length;
        this.#header = Buffer.concat([this.#header, rest.subarray(0, missing)]);
        rest = rest.subarray(missing);
        if (this.#header.length < HEADER_SIZE) return;
        this.#target = this.#connections.get(this.#header.readUInt32BE(0));
        this.#left = this.#header.readUInt32BE(4);
        this.#header = Buffer.alloc(0);
      } else {
        const payload = rest.subarray(0, this.#left);
        rest = rest.subarray(payload.length);
        this.#left -= payload.length;
        // A full connection holds up all of them, as in NRI's own mux.
        if (this.#target?.push(payload) === false) this.#trunk.pause();
      }
    }
  }
}
