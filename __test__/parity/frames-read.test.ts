import { connect, createServer, TtrpcError } from "containerd-shim-protos";
import { expect, it } from "vitest";
import { RawServer, rawConnect } from "../helpers/raw-peer.js";
import { temporaryAddress } from "../helpers/temp.js";
import { FrameType } from "../helpers/wire.js";
import type { FrameInit } from "./peer.js";
import { Random } from "./random.js";
import { describeWithRust } from "./with-rust.js";

const SEED = 7;

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

type Status = NonNullable<NonNullable<FrameInit["response"]>["status"]>;

describeWithRust("frames that the ttrpc crate writes", (peer) => {
  /** Statuses and payloads as a server may answer them. */
  function randomResponse(random: Random): NonNullable<FrameInit["response"]> {
    if (random.onceIn(2)) {
      const payload = random.bytes(random.pick([0, 1, 127, 128, 300, 70_000]));
      // Other servers may leave out the status of a successful call.
      return random.onceIn(2) ? { payload } : { payload, status: { code: 0, message: "", details: [] } };
    }
    const details = Array.from({ length: random.below(3) }, () => ({
      typeUrl: random.word(),
      value: random.bytes(random.below(200)),
    }));
    return {
      payload: new Uint8Array(),
      status: { code: 1 + random.below(20), message: random.word(), details },
    };
  }

  /** A response in hexadecimal, or the status of a call that failed. */
  function outcome(call: Promise<Uint8Array>): Promise<unknown> {
    return call.then(hex, (error: unknown) => {
      if (error instanceof TtrpcError)
        return inHex({ ...error, details: error.details, code: error.code, message: error.rawMessage });
      throw error;
    });
  }

  function inHex({ code, message, details }: Status) {
    return {
      code,
      message,
      details: details.map(({ typeUrl, value }) => ({ typeUrl, value: hex(value) })),
    };
  }

  it("are read by a client", async () => {
    await using server = await RawServer.listen();
    await using connection = await connect(server.address);
    const raw = await server.accept();
    const random = new Random(SEED);
    for (let index = 0; index < 300; index++) {
      const response = randomResponse(random);

      const call = outcome(connection.unary("s", "m", new Uint8Array()));
      await raw.nextFrame();
      await raw.send(
        await peer().frame({ streamId: 2 * index + 1, type: FrameType.Response, flags: 0, response }),
      );

      const { status, payload } = response;
      const failed = status !== undefined && status.code !== 0;
      expect(await call).toEqual(failed ? inHex(status) : hex(payload));
    }
  });

  it("are read by a server", async () => {
    await using server = createServer();
    const seen: unknown[] = [];
    server.addRaw("s", {
      See: {
        kind: "unary",
        handle(payload, { metadata, timeoutMs }) {
          seen.push({ payload: hex(payload), metadata: Object.entries(metadata), timeoutMs });
          return new Uint8Array();
        },
      },
    });
    const raw = await rawConnect(await server.listen(temporaryAddress()));
    const random = new Random(SEED);
    for (let index = 0; index < 300; index++) {
      const payload = random.bytes(random.pick([0, 1, 127, 128, 300, 70_000]));
      const timeoutNano = random.pick([0n, 60_000_000_000n, 2n ** 63n - 1n]);
      const keys = Array.from({ length: random.below(4) }, (_, key) => `key-${key}`);
      const values = keys.map(() => Array.from({ length: 1 + random.below(3) }, () => random.word()));

      await raw.send(
        await peer().frame({
          streamId: 2 * index + 1,
          type: FrameType.Request,
          flags: 0,
          request: {
            service: "s",
            method: "See",
            payload,
            timeoutNano,
            metadata: keys.flatMap((key, at) => (values[at] ?? []).map((value) => [key, value] as const)),
          },
        }),
      );
      await raw.nextFrame();

      expect(seen.pop()).toEqual({
        payload: hex(payload),
        metadata: keys.map((key, at) => [key, values[at]]),
        timeoutMs: timeoutNano === 0n ? undefined : Number(timeoutNano) / 1e6,
      });
    }
    raw.end();
  });
});
