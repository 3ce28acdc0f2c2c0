import { connect, type Connection, createServer, type RawMethods, type Server } from "containerd-shim-protos";
import { type RawConnection, rawConnect, RawServer } from "./raw-peer.js";
import { temporaryAddress } from "./temp.js";
import { encodeFrame, encodeRequest, FrameType, type RequestEnvelope } from "./wire.js";

/** The service with the handlers of a pair. */
export const SERVICE = "a.B";

/** The bits of a frame's flags. */
export const Flag = { RemoteClosed: 1, RemoteOpen: 2, NoData: 4 } as const;

/** Our client connected to our server. */
export interface Pair extends AsyncDisposable {
  readonly address: string;
  readonly server: Server;
  readonly connection: Connection;
}

/** Our client connected to our server with these handlers. */
export async function pairOf(methods: RawMethods): Promise<Pair> {
  return pairWith(createServer().addRaw(SERVICE, methods));
}

/** Our client connected to the given server. */
export async function pairWith(server: Server): Promise<Pair> {
  const address = await server.listen(temporaryAddress());
  const connection = await connect(address);
  return {
    address,
    server,
    connection,
    async [Symbol.asyncDispose]() {
      await connection.close();
      await server.close({ graceMs: 0 });
    },
  };
}

/** Our server with these handlers, and a client of raw frames. */
export async function rawClientOf(
  methods: RawMethods,
): Promise<AsyncDisposable & { readonly peer: RawConnection; readonly address: string }> {
  const server = createServer().addRaw(SERVICE, methods);
  const address = await server.listen(temporaryAddress());
  const peer = await rawConnect(address);
  return {
    peer,
    address,
    async [Symbol.asyncDispose]() {
      peer[Symbol.dispose]();
      await server.close({ graceMs: 0 });
    },
  };
}

/** Our client connected to a server of raw frames. */
export async function rawServerOf(): Promise<
  AsyncDisposable & { readonly peer: RawConnection; readonly connection: Connection }
> {
  const server = await RawServer.listen();
  const connection = await connect(server.address);
  const peer = await server.accept();
  return {
    peer,
    connection,
    async [Symbol.asyncDispose]() {
      await connection.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** The request that opens a stream. */
export function openingFrame(streamId: number, flags: number, request: Partial<RequestEnvelope>): Buffer {
  return encodeFrame({
    streamId,
    type: FrameType.Request,
    flags,
    body: encodeRequest({ service: SERVICE, ...request }),
  });
}

/** A message of a stream. */
export function dataFrame(streamId: number, body: Uint8Array, flags = 0): Buffer {
  return encodeFrame({ streamId, type: FrameType.Data, flags, body });
}

/** The end of one side's messages. */
export function closeFrame(streamId: number): Buffer {
  return dataFrame(streamId, new Uint8Array(), Flag.RemoteClosed | Flag.NoData);
}
