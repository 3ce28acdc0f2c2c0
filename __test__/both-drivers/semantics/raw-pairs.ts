import { connect, type Connection, createServer, type RawMethods } from "containerd-shim-protos";
import { expect } from "vitest";
import { bytes, text } from "../../helpers/outcome.js";
import { type RawConnection, rawConnect, RawServer } from "../../helpers/raw-peer.js";
import { temporaryAddress } from "../../helpers/temp.js";
import {
  decodeRequest,
  encodeFrame,
  encodeRequest,
  type Frame,
  FrameType,
  type RequestEnvelope,
} from "../../helpers/wire.js";

export const EMPTY = new Uint8Array();
export const ECHO = { service: "test.Echo", method: "Echo" };

/** Methods that tests add to the service `test.Raw`. */
export const HOLD = { service: "test.Raw", method: "Hold" };
export const LIST = { service: "test.Raw", method: "List" };
export const SUM = { service: "test.Raw", method: "Sum" };
export const CHAT = { service: "test.Raw", method: "Chat" };

/** The flags of the wire. */
export const Flag = { RemoteClosed: 1, RemoteOpen: 2, NoData: 4 } as const;

/** The flags by which a side says that it sends no more. */
export const HALF_CLOSE = Flag.RemoteClosed | Flag.NoData;

/** The flags of a request that opens a stream with client messages: Rust sets both, Go only the first. */
export const OPEN_BY_RUST = Flag.RemoteOpen | Flag.NoData;
export const OPEN_BY_GO = Flag.RemoteOpen;

/** A DATA frame. */
export function data(streamId: number, body: Uint8Array | string, flags = 0): Buffer {
  const message = typeof body === "string" ? bytes(body) : body;
  return encodeFrame({ streamId, type: FrameType.Data, flags, body: message });
}

/** A request frame. */
export function request(streamId: number, envelope: Partial<RequestEnvelope>, flags = 0): Buffer {
  return encodeFrame({ streamId, type: FrameType.Request, flags, body: encodeRequest(envelope) });
}

/** Our server with a raw client connected to it. It has `test.Echo/Echo`, and the methods that the test adds. */
export async function serverOfRaw(methods: RawMethods = {}, options?: Parameters<typeof createServer>[0]) {
  const echoed: string[] = [];
  const server = createServer(options)
    .addRaw("test.Echo", {
      Echo: {
        kind: "unary",
        handle(payload) {
          echoed.push(text(payload.subarray(0, 100)));
          return payload;
        },
      },
    })
    .addRaw("test.Raw", methods);
  const address = await server.listen(temporaryAddress());
  const client = await rawConnect(address);
  return {
    address,
    client,
    /** What reached the handler of Echo. */
    echoed,
    server,
    async [Symbol.asyncDispose]() {
      client[Symbol.dispose]();
      await server.close({ graceMs: 0 });
    },
  };
}

/** Our client with a raw server at the other end. */
export async function clientOfRaw() {
  const server = await RawServer.listen();
  const connection = await connect(server.address);
  const peer = await server.accept();
  return {
    connection,
    peer,
    server,
    async [Symbol.asyncDispose]() {
      await connection.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** The connection must be served as if nothing had happened, and so must another client. */
export async function expectServed(
  { address, client }: { readonly address: string; readonly client: RawConnection },
  streamId = 1001,
): Promise<void> {
  const { status, payload } = await client.call(streamId, { ...ECHO, payload: bytes("next") });
  expect({ code: status.code, payload: text(payload) }).toEqual({ code: 0, payload: "next" });
  await expectGoodClientServed(address);
}

/** A well-behaved client must be served. */
export async function expectGoodClientServed(address: string): Promise<void> {
  await using connection = await connect(address);
  expect(text(await connection.unary("test.Echo", "Echo", bytes("good")))).toBe("good");
}

/** The connection must carry calls as if nothing had happened. */
export async function expectClientGoesOn(connection: Connection, peer: RawConnection): Promise<void> {
  const call = connection.unary("a.B", "Next", bytes("ping"));
  const { streamId, payload } = await nextUnaryRequest(peer);
  expect(text(payload)).toBe("ping");
  await peer.reply(streamId, bytes("pong"));
  expect(text(await call)).toBe("pong");
}

/** The next request. Frames that an earlier stream still sent are skipped. */
export async function nextUnaryRequest(peer: RawConnection) {
  let frame: Frame = await peer.nextFrame();
  while (frame.type !== FrameType.Request) frame = await peer.nextFrame();
  return { ...frame, ...decodeRequest(frame.body) };
}

/** Gives the event loop a turn, so that the other side reads by itself what was sent so far. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
