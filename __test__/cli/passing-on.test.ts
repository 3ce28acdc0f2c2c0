import { setTimeout as sleep } from "node:timers/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, connect, createServer, type Server } from "containerd-shim-protos";
import { ForwardRequestSchema, listenEvents } from "containerd-shim-protos/events";
import * as fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { RawServer } from "../helpers/raw-peer.js";
import { temporaryAddress } from "../helpers/temp.js";
import { encodeFrame, FrameType } from "../helpers/wire.js";
import { proxyTo } from "./proxied.js";
import { shimctl, Shimctl } from "./shimctl.js";

const EVENTS = "containerd.services.events.ttrpc.v1.Events";

interface Odd {
  readonly timestamp?: { readonly seconds: bigint; readonly nanos?: number };
  readonly typeUrl?: string;
  readonly value?: Uint8Array;
}

function request({ timestamp = { seconds: 1n }, typeUrl = "x", value = new Uint8Array() }: Odd): Uint8Array {
  const envelope = { namespace: "a", topic: "/x", timestamp, event: { typeUrl, value } };
  return toBinary(ForwardRequestSchema, create(ForwardRequestSchema, { envelope }));
}

/** An Any in an Any in an Any, and so on. */
function matryoshka(levels: number): Uint8Array {
  let bytes: Uint8Array = new Uint8Array();
  for (let level = 0; level < levels; level++) {
    const url = Buffer.from("x/google.protobuf.Any");
    const head = Buffer.from([0x0a, url.length]);
    bytes = Buffer.concat([head, url, Buffer.from([0x12, ...varint(bytes.length)]), bytes]);
  }
  return bytes;
}

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)];
}

const deep = Buffer.from("[".repeat(20_000) + "]".repeat(20_000));
/** Times that containerd refuses. */
const NO_DATES: readonly (readonly [string, Odd])[] = [
  ["a time beyond all calendars", { timestamp: { seconds: 1n << 50n } }],
  ["a time before them", { timestamp: { seconds: -(1n << 62n) } }],
  ["a time of too many nanoseconds", { timestamp: { seconds: 1n, nanos: 2 ** 31 - 1 } }],
  ["a time of negative nanoseconds", { timestamp: { seconds: 1n, nanos: -1 } }],
];

/** Messages that are hard or impossible to print by their type. */
const ODD: readonly (readonly [string, Odd])[] = [
  ["deeply nested JSON", { value: deep }],
  ["three megabytes", { value: new Uint8Array(3_000_000).fill(7) }],
  ["three megabytes of JSON", { value: Buffer.from(JSON.stringify(["\\".repeat(1_500_000)])) }],
  ["many numbers", { value: Buffer.from(`[${"1,".repeat(500_000)}1]`) }],
  ["Anys in Anys", { typeUrl: "x/google.protobuf.Any", value: matryoshka(5000) }],
  [
    "an event that does not decode",
    { typeUrl: "containerd.events.TaskExit", value: Buffer.from("ff", "hex") },
  ],
  [
    "an event with an odd time",
    { typeUrl: "containerd.events.TaskExit", value: Buffer.from("2a0608ffffffff7f", "hex") },
  ],
];

describe.each(["", "--json", "--forward", "--forward --json"])("shimctl events %s", (options) => {
  it(
    "accepts, prints and passes on every event that has a date, however odd",
    { timeout: 60_000 },
    async () => {
      const target = temporaryAddress();
      await using containerd = listenEvents(target);
      const arrived = (async () => {
        let count = 0;
        for await (const _ of containerd) count++;
        return count;
      })();
      const address = temporaryAddress();
      const flags = options
        .split(" ")
        .flatMap((flag) => (flag === "--forward" ? [flag, target] : flag === "" ? [] : [flag]));
      await using child = new Shimctl(["events", address, ...flags], { env: { FORCE_COLOR: "1" } });
      await child.says("listening on");
      await using connection = await connect(address);
      for (const [name, odd] of NO_DATES) {
        const forwarded = connection.unary(EVENTS, "Forward", request(odd), { timeoutMs: 20_000 });
        await expect(forwarded, name).rejects.toMatchObject({ code: Code.InvalidArgument });
      }
      for (const [name, odd] of [...ODD, ["an ordinary one", {}] as const]) {
        const forwarded = connection.unary(EVENTS, "Forward", request(odd), { timeoutMs: 20_000 });
        await expect(forwarded, name).resolves.toBeInstanceOf(Uint8Array);
      }
      await child.printsLines(ODD.length + 1);
      child.kill("SIGTERM");
      const { code, stdout } = await child.outcome();
      expect(code).toBe(0);
      expect(stdout.trimEnd().split("\n")).toHaveLength(ODD.length + 1);
      await containerd.close();
      expect(await arrived).toBe(flags.includes("--forward") ? ODD.length + 1 : 0);
    },
  );
});

it(
  "shimctl events --forward passes events on even if nobody reads its output",
  { timeout: 60_000 },
  async () => {
    const target = temporaryAddress();
    await using containerd = listenEvents(target);
    let count = 0;
    void (async () => {
      for await (const _ of containerd) count++;
    })();
    const address = temporaryAddress();
    await using child = new Shimctl(["events", address, "--forward", target]);
    await child.says("listening on");
    child.ignore();
    await using connection = await connect(address);
    // Far more than the pipe, the waiting lines and the queue can hold.
    const large = request({ value: new Uint8Array(1_000_000).fill(7) });
    for (let call = 0; call < 60; call++) {
      await connection.unary(EVENTS, "Forward", large, { timeoutMs: 10_000 });
    }
    expect(count).toBe(60);
    child.listen();
    await child.says("lines left out: the reader is too slow");
  },
);

it("shimctl events ends when it is stopped, even if nobody reads its output", async () => {
  const address = temporaryAddress();
  await using child = new Shimctl(["events", address]);
  await child.says("listening on");
  child.ignore();
  await using connection = await connect(address);
  const large = request({ value: new Uint8Array(3_000_000).fill(7) });
  const published = Promise.allSettled([1, 2].map(() => connection.unary(EVENTS, "Forward", large)));
  // Until the line of the first one fills the pipe.
  await sleep(1000);
  child.kill("SIGINT");
  await new Promise<void>((resolve) => {
    const look = () => (child.exited ? resolve() : setTimeout(look, 20));
    look();
  });
  child.listen();
  expect(await child.outcome()).toMatchObject({ code: 0 });
  // Nobody has read them, so their publisher still has them.
  expect((await published).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
});

describe("shimctl proxy", () => {
  it.each([[[]], [["--json"]]])(
    "passes on every message and prints it in some form, with %j",
    async (options) => {
      await using server = await RawServer.listen();
      await using proxy = await proxyTo(server.address, ...options);
      (await server.accept()).end();
      await using connection = await connect(proxy.address);
      const peer = await server.accept();
      for (const [name, odd] of ODD) {
        const bytes = request(odd);
        const call = connection.unary(EVENTS, "Forward", bytes, { timeoutMs: 20_000 });
        const { streamId, payload } = await peer.nextRequest();
        expect(Buffer.from(payload).equals(bytes), name).toBe(true);
        await peer.reply(streamId, new Uint8Array());
        await call;
      }
      // The opening, and two frames for each call.
      await proxy.printsLines(1 + 2 * ODD.length);
    },
  );

  it("passes on any message of JSON, and keeps running", { timeout: 60_000 }, async () => {
    await using server = await RawServer.listen();
    await using proxy = await proxyTo(server.address);
    (await server.accept()).end();
    await using connection = await connect(proxy.address);
    const peer = await server.accept();
    const part = fc.constantFrom(
      "[",
      "]",
      "{",
      "}",
      '"',
      ":",
      ",",
      "1",
      "e",
      "\\",
      "\\u",
      "null",
      "\u0000",
      "9".repeat(400),
    );
    const value = fc.oneof(
      fc.array(part).map((parts) => `[${parts.join("")}`),
      fc.json(),
    );
    await fc.assert(
      fc.asyncProperty(value, async (json) => {
        const call = connection.unary(EVENTS, "Forward", request({ value: Buffer.from(json) }));
        const { streamId } = await peer.nextRequest();
        await peer.reply(streamId, new Uint8Array());
        expect(await call).toHaveLength(0);
      }),
      { numRuns: 200 },
    );
  });
});

describe("shimctl call", () => {
  const servers: Server[] = [];
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.close({ graceMs: 0 });
  });

  it("prints the bytes of a reply that does not decode, says so, and ends with 1", async () => {
    const server = createServer();
    servers.push(server);
    server.addRaw("containerd.task.v3.Task", {
      State: { kind: "unary", handle: () => Buffer.from("ff", "hex") },
    });
    const address = await server.listen(temporaryAddress());
    const { code, stdout, stderr } = await shimctl(["call", address, "v3.Task/State"]);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toEqual({
      raw: "ff",
      problem: expect.stringContaining("the reply is not a") as string,
    });
    expect(stderr).toContain("shimctl: the reply is not a containerd.task.v3.StateResponse");
  });

  it("continues a stream after a message that does not decode", async () => {
    await using server = await RawServer.listen();
    await using child = new Shimctl(["call", server.address, "streaming.v1.Streaming/Stream", "{}"]);
    const peer = await server.accept();
    const { streamId } = await peer.nextFrame();
    const good = Buffer.from("0a0178", "hex");
    for (const body of [Buffer.from("ff", "hex"), good]) {
      await peer.send(encodeFrame({ streamId, type: FrameType.Data, body }));
    }
    await peer.send(encodeFrame({ streamId, type: FrameType.Data, flags: 5, body: new Uint8Array() }));
    const { code, stdout } = await child.outcome();
    expect(code).toBe(1);
    const [raw, whole] = stdout.trimEnd().split("\n");
    expect(JSON.parse(raw!)).toMatchObject({ raw: "ff" });
    expect(JSON.parse(whole!)).toMatchObject({ "@type": "x" });
  });
});
