import { create, toBinary } from "@bufbuild/protobuf";
import { type Code, createClient, createServer, packAny, TtrpcError } from "containerd-shim-protos";
import { TaskExitSchema } from "containerd-shim-protos/events";
import { CreateTaskRequestSchema, Task } from "containerd-shim-protos/task/v3";
import { describe, expect, it } from "vitest";
import { rawServerOf } from "../helpers/pair.js";
import { rawConnect } from "../helpers/raw-peer.js";
import { Tap } from "../helpers/tap.js";
import { temporaryAddress } from "../helpers/temp.js";
import { decodeRequest, encodeFrame, FrameType } from "../helpers/wire.js";
import type { FrameInit } from "./peer.js";
import { Random } from "./random.js";
import { describeWithRust } from "./with-rust.js";

const Flags = { RemoteClosed: 1, RemoteOpen: 2, NoData: 4 } as const;

const SEED = 7;

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describeWithRust("frames as the ttrpc crate writes them", (peer) => {
  /** Compares a frame with the one that Rust encodes from the same fields. */
  async function expectFrame(frame: Uint8Array, fields: FrameInit): Promise<void> {
    expect(hex(frame)).toBe(hex(await peer().frame(fields)));
  }

  describe("of a client", () => {
    it("are requests with all kinds of names, payloads, timeouts and metadata", async () => {
      await using served = await rawServerOf();
      const { connection, peer: raw } = served;
      const tap = new Tap(raw.socket);
      const random = new Random(SEED);
      for (let index = 0; index < 300; index++) {
        const streamId = 2 * index + 1;
        const service = random.word() || "s";
        const method = random.word() || "m";
        const payload = random.bytes(random.pick([0, 1, 20, 127, 128, 300, 70_000]));
        const timeoutMs = random.pick([undefined, 0, 60_000.5, 120_000, 3_600_000]);
        const pairs = Array.from({ length: random.below(5) }, (_, key) => {
          const values = Array.from({ length: random.below(4) }, () => random.word());
          return [`key-${key}`, values] as const;
        });

        const call = connection.unary(service, method, payload, {
          timeoutMs,
          metadata: Object.fromEntries(pairs),
        });
        const frame = await tap.frame();
        await raw.reply(streamId, new Uint8Array());
        await call;

        const { timeoutNano } = decodeRequest(frame.subarray(10));
        // The timeout is what is left of it when the request is written.
        const most = BigInt((timeoutMs ?? 0) * 1e6);
        expect(timeoutNano <= most && timeoutNano >= most - (most > 0n ? 5_000_000_000n : 0n)).toBe(true);
        const metadata = pairs.flatMap(([key, values]) => values.map((value) => [key, value] as const));
        await expectFrame(frame, {
          streamId,
          type: FrameType.Request,
          flags: 0,
          request: { service, method, payload, timeoutNano, metadata },
        });
      }
      expect(tap.rest).toHaveLength(0);
    });

    it("are typed requests", async () => {
      await using served = await rawServerOf();
      const { connection, peer: raw } = served;
      const tap = new Tap(raw.socket);
      const types = await peer().types();
      const request = {
        id: "web",
        bundle: "/run/web",
        rootfs: [{ type: "overlay", source: "overlay", options: ["lowerdir=/a:/b", ""] }],
        terminal: true,
        options: packAny(TaskExitSchema, { exitStatus: 137, pid: 2 ** 32 - 1 }),
      };

      const call = createClient(Task, connection).create(request);
      const frame = await tap.frame();
      await raw.reply(1, new Uint8Array());
      await call;

      const [payload] = await peer().echo(
        types.findIndex(([name]) => name === CreateTaskRequestSchema.typeName),
        [toBinary(CreateTaskRequestSchema, create(CreateTaskRequestSchema, request))],
      );
      if (payload?.ok !== true) throw new Error("Rust refuses the request");
      const service = "containerd.task.v3.Task";
      await expectFrame(frame, {
        streamId: 1,
        type: FrameType.Request,
        flags: 0,
        request: { service, method: "Create", payload: payload.bytes, timeoutNano: 0n, metadata: [] },
      });
    });

    it("are those of a call whose requests are a stream", async () => {
      await using served = await rawServerOf();
      const { connection, peer: raw } = served;
      const tap = new Tap(raw.socket);
      async function* requests() {
        yield Buffer.from("one");
        yield new Uint8Array();
        yield Buffer.alloc(40_000, 7);
      }

      const call = connection.clientStreaming("s", "Sum", requests(), { metadata: { k: ["v", "w"] } });
      const frames = [];
      for (let count = 0; count < 5; count++) frames.push(await tap.frame());
      await raw.reply(1, Buffer.from("sum"));

      expect(hex(await call)).toBe(hex(Buffer.from("sum")));
      const expected: FrameInit[] = [
        {
          streamId: 1,
          type: FrameType.Request,
          flags: Flags.RemoteOpen | Flags.NoData,
          request: {
            service: "s",
            method: "Sum",
            payload: new Uint8Array(),
            timeoutNano: 0n,
            metadata: [
              ["k", "v"],
              ["k", "w"],
            ],
          },
        },
        { streamId: 1, type: FrameType.Data, flags: 0, data: Buffer.from("one") },
        { streamId: 1, type: FrameType.Data, flags: 0, data: new Uint8Array() },
        { streamId: 1, type: FrameType.Data, flags: 0, data: Buffer.alloc(40_000, 7) },
        {
          streamId: 1,
          type: FrameType.Data,
          flags: Flags.RemoteClosed | Flags.NoData,
          data: new Uint8Array(),
        },
      ];
      for (const [index, fields] of expected.entries())
        await expectFrame(frames[index] ?? new Uint8Array(), fields);
      expect(tap.rest).toHaveLength(0);
    });

    it("are a single one for a call whose responses are a stream", async () => {
      await using served = await rawServerOf();
      const { connection, peer: raw } = served;
      const tap = new Tap(raw.socket);

      const call = connection.serverStreaming("s", "List", Buffer.from("all"));
      const first = call[Symbol.asyncIterator]().next();
      const frame = await tap.frame();
      await raw.send(
        encodeFrame({
          streamId: 1,
          type: FrameType.Data,
          flags: Flags.RemoteClosed | Flags.NoData,
          body: new Uint8Array(),
        }),
      );

      expect(await first).toMatchObject({ done: true });
      await expectFrame(frame, {
        streamId: 1,
        type: FrameType.Request,
        flags: Flags.RemoteClosed,
        request: {
          service: "s",
          method: "List",
          payload: Buffer.from("all"),
          timeoutNano: 0n,
          metadata: [],
        },
      });
    });
  });

  it("differ from a frame with any single bit flipped", async () => {
    const fields: FrameInit = {
      streamId: 1,
      type: FrameType.Request,
      flags: 0,
      request: {
        service: "s",
        method: "m",
        payload: Buffer.from("p"),
        timeoutNano: 1n,
        metadata: [["k", "v"]],
      },
    };
    const frame = await peer().frame(fields);
    await expectFrame(frame, fields);
    for (let bit = 0; bit < frame.length * 8; bit++) {
      const changed = Buffer.from(frame);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      await expect(expectFrame(changed, fields)).rejects.toThrow("to be");
    }
  });

  describe("of a server", () => {
    it("are responses with all kinds of payloads and statuses", async () => {
      const random = new Random(SEED);
      const answers = Array.from({ length: 300 }, () => {
        if (random.onceIn(2)) return { payload: random.bytes(random.pick([0, 1, 127, 128, 300, 70_000])) };
        const details = Array.from({ length: random.below(3) }, () =>
          packAny(TaskExitSchema, { id: random.word(), pid: random.next() }),
        );
        const code = random.onceIn(4) ? 17 + random.below(1000) : 1 + random.below(16);
        return { error: new TtrpcError(random.word(), code as Code, { details }) };
      });
      await using server = createServer();
      let next = 0;
      server.addRaw("s", {
        Answer: {
          kind: "unary",
          handle: () => {
            const { payload, error } = answers[next++] ?? {};
            if (payload === undefined) throw error;
            return payload;
          },
        },
      });
      const raw = await rawConnect(await server.listen(temporaryAddress()));
      const tap = new Tap(raw.socket);
      for (const [index, { payload, error }] of answers.entries()) {
        const streamId = 2 * index + 1;
        await raw.request(streamId, { service: "s", method: "Answer" });
        const details = error?.details.map(({ typeUrl, value }) => ({ typeUrl, value })) ?? [];
        await expectFrame(await tap.frame(), {
          streamId,
          type: FrameType.Response,
          flags: 0,
          response: {
            status: { code: error?.code ?? 0, message: error?.message ?? "", details },
            payload: payload ?? new Uint8Array(),
          },
        });
      }
      expect(tap.rest).toHaveLength(0);
      raw.end();
    });

    it("are typed responses", async () => {
      await using server = createServer();
      server.add(Task, { connect: () => ({ shimPid: 1, taskPid: 2 ** 32 - 1, version: "v" }) });
      const raw = await rawConnect(await server.listen(temporaryAddress()));
      const tap = new Tap(raw.socket);

      await raw.request(1, { service: "containerd.task.v3.Task", method: "Connect" });

      await expectFrame(await tap.frame(), {
        streamId: 1,
        type: FrameType.Response,
        flags: 0,
        response: {
          status: { code: 0, message: "", details: [] },
          payload: Buffer.from("080110ffffffff0f1a0176", "hex"),
        },
      });
      raw.end();
    });

    it("are those of a stream of responses", async () => {
      await using server = createServer();
      server.addRaw("s", {
        List: {
          kind: "server_streaming",
          async *handle(payload) {
            yield payload;
            yield new Uint8Array();
          },
        },
      });
      const raw = await rawConnect(await server.listen(temporaryAddress()));
      const tap = new Tap(raw.socket);

      await raw.send(
        await peer().frame({
          streamId: 1,
          type: FrameType.Request,
          flags: Flags.RemoteClosed,
          request: {
            service: "s",
            method: "List",
            payload: Buffer.from("all"),
            timeoutNano: 0n,
            metadata: [],
          },
        }),
      );

      await expectFrame(await tap.frame(), {
        streamId: 1,
        type: FrameType.Data,
        flags: 0,
        data: Buffer.from("all"),
      });
      await expectFrame(await tap.frame(), {
        streamId: 1,
        type: FrameType.Data,
        flags: 0,
        data: new Uint8Array(),
      });
      await expectFrame(await tap.frame(), {
        streamId: 1,
        type: FrameType.Data,
        flags: Flags.RemoteClosed | Flags.NoData,
        data: new Uint8Array(),
      });
      expect(tap.rest).toHaveLength(0);
      raw.end();
    });
  });
});
