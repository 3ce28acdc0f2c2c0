import { create, type DescMessage, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { describe, beforeAll, expect, it } from "vitest";
import * as events from "../../src/events/index.js";
import { BootstrapResultSchema, BootstrapParamsSchema } from "../../src/protos/bootstrap.js";
import { CPUUsageSchema } from "../../src/protos/cgroups/v1.js";
import { MemoryStatSchema, PSIDataSchema } from "../../src/protos/cgroups/v2.js";
import { ContainerUpdateSchema, TaskExitSchema } from "../../src/events/index.js";
import { MountSchema } from "../../src/protos/types.js";
import { StatisticsSchema, WindowsContainerStatisticsSchema } from "../../src/protos/windows.js";
import { type Codec, compareType, type Mismatch, ownCodec, Report } from "./compare.js";
import { dump } from "./dump.js";
import { type Pair, pairTypes } from "./types.js";
import { describeWithRust } from "./with-rust.js";

/** How many values of a type each side generates; fewer under an emulator. */
const COUNT = Number(process.env["PARITY_VALUES"] ?? 1000);

/** The seed of the run; `npm run parity` uses others. */
const SEED = 20_250_101;

const text = (data: string) => Buffer.from(data, "hex");

describeWithRust("parity with Rust", (peer) => {
  let pairs: Pair[];
  let problems: string[];

  beforeAll(async () => {
    ({ pairs, problems } = pairTypes(await peer().types()));
  });

  function typeOf(desc: DescMessage): number {
    const pair = pairs.find((candidate) => candidate.desc.typeName === desc.typeName);
    if (pair === undefined) throw new Error(`Rust has no ${desc.typeName}`);
    return pair.type;
  }

  /** How Rust decodes and encodes bytes. */
  async function echo(desc: DescMessage, bytes: Uint8Array): Promise<{ bytes: string; text: string }> {
    const [answer] = await peer().echo(typeOf(desc), [bytes]);
    if (answer?.ok !== true) throw new Error(`Rust refuses ${desc.typeName}: ${answer?.error}`);
    return { bytes: answer.bytes.toString("hex"), text: answer.text };
  }

  it("has the same types with the same fields on both sides", () => {
    expect(problems).toEqual([]);
    expect(pairs.length).toBe(164);
  });

  it("has the event topics of the crate", async () => {
    const topics = Object.entries(events).filter(([name]) => name.endsWith("_TOPIC"));
    expect(Object.fromEntries(topics)).toEqual(await peer().topics());
  });

  it("finds no difference in any message type", { timeout: 240_000 }, async () => {
    const report = new Report();
    const start = performance.now();
    for (const { desc, type } of pairs)
      await compareType(report, { peer: peer(), desc, type, seed: SEED, count: COUNT });
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    process.stdout.write(`parity: ${report.toString()}; seed ${SEED}, ${seconds} s\n`);

    expect(report.mismatches.slice(0, 5)).toEqual([]);
    expect(report.types.size).toBe(pairs.length);
    expect(report.values).toBe(pairs.length * COUNT * 2);
    // Each of Rust's freedoms came up, and most values have none.
    expect([...report.freedoms.keys()].toSorted()).toEqual([
      "map",
      "negative enum",
      "negative zero",
      "oneof",
      "unknown",
    ]);
    expect(report.identical / report.values).toBeGreaterThan(0.9);
  });

  describe("what Rust reads or writes differently", () => {
    it("is a negative zero without presence, which Rust reads but does not write", async () => {
      const bytes = ownCodec.encode(PSIDataSchema, { avg10: -0, avg60: 1 });

      const value = '{"1:avg10:double":"8000000000000000","2:avg60:double":"3ff0000000000000"}';
      expect(Buffer.from(bytes).toString("hex")).toBe("09000000000000008011000000000000f03f");
      expect(await echo(PSIDataSchema, bytes)).toEqual({ bytes: "11000000000000f03f", text: value });
    });

    it("is a packed list with a negative enum value, which Rust writes so that it cannot be read", async () => {
      const bytes = ownCodec.encode(BootstrapResultSchema, { capabilities: [-1, 0], protocol: "ttrpc" });

      const answer = await echo(BootstrapResultSchema, bytes);
      expect(answer.text).toContain(":[-1,0]");
      expect(Buffer.from(bytes).toString("hex")).toBe("1a057474727063220bffffffffffffffffff0100");
      expect(answer.bytes).toBe("1a0574747270632206ffffffffffffffffff0100");
      expect(await peer().echo(typeOf(BootstrapResultSchema), [text(answer.bytes)])).toMatchObject([
        { ok: false },
      ]);
    });

    it("is the field of a oneof, which Rust writes after all others", async () => {
      const bytes = ownCodec.encode(StatisticsSchema, {
        vm: {},
        container: { case: "windows", value: {} },
      });

      expect(Buffer.from(bytes).toString("hex")).toBe("0a001a00");
      expect(await echo(StatisticsSchema, bytes)).toMatchObject({ bytes: "1a000a00" });
    });

    it("is an unknown group, which Node keeps and Rust drops", async () => {
      const group = text("7b08017c");
      const exit = create(TaskExitSchema, { pid: 7 });
      exit.$unknown = [{ no: 15, wireType: WireType.StartGroup, data: group.subarray(1) }];

      const bytes = ownCodec.encode(TaskExitSchema, exit);

      expect(Buffer.from(bytes).toString("hex")).toBe("18077b08017c");
      expect(ownCodec.encode(TaskExitSchema, ownCodec.decode(TaskExitSchema, bytes))).toEqual(bytes);
      expect(await echo(TaskExitSchema, bytes)).toEqual({ bytes: "1807", text: '{"3:pid:uint32":7}' });
    });

    it("is a message that occurs twice: Node merges both, as protobuf says, and Rust takes the last", async () => {
      const bytes = text("0a0208070a021009");

      const decoded = ownCodec.decode(WindowsContainerStatisticsSchema, bytes);

      expect(dump(WindowsContainerStatisticsSchema, decoded)).toBe(
        '{"1:timestamp:google.protobuf.Timestamp":{"1:seconds:int64":"7","2:nanos:int32":9}}',
      );
      expect(await echo(WindowsContainerStatisticsSchema, bytes)).toEqual({
        bytes: "0a021009",
        text: '{"1:timestamp:google.protobuf.Timestamp":{"2:nanos:int32":9}}',
      });
    });

    it("is a uint32 in more than 5 bytes, which Rust refuses", async () => {
      const bytes = text("18878080808000");

      expect(dump(TaskExitSchema, ownCodec.decode(TaskExitSchema, bytes))).toBe('{"3:pid:uint32":7}');
      expect(await peer().echo(typeOf(TaskExitSchema), [bytes])).toMatchObject([{ ok: false }]);
    });

    it("is an int32 of more than 32 bits: Node takes the lower ones, as protobuf says, and Rust refuses it", async () => {
      const bytes = text("10878080808001");

      expect(dump(TimestampSchema, ownCodec.decode(TimestampSchema, bytes))).toBe('{"2:nanos:int32":7}');
      expect(await peer().echo(typeOf(TimestampSchema), [bytes])).toMatchObject([{ ok: false }]);
    });
  });

  describe("Node's own order", () => {
    it("is the order of properties for maps: integers by size, then all others as they were added", () => {
      const labels = { b: "", "10": "", a: "", "2": "", "-1": "", "01": "" };
      const bytes = ownCodec.encode(ContainerUpdateSchema, { labels });
      const keys: string[] = [];
      const reader = new BinaryReader(bytes);
      while (reader.pos < reader.len) {
        reader.tag();
        const entry = new BinaryReader(reader.bytes());
        entry.tag();
        keys.push(entry.string());
      }

      expect(Object.keys(labels)).toEqual(["2", "10", "b", "a", "-1", "01"]);
      expect(keys).toEqual(["2", "10", "b", "a", "-1", "01"]);
    });

    it("is by number for fields, whatever their order in a plain object, and unknown fields come last, as they were read", () => {
      const source = new BinaryWriter()
        .tag(99, WireType.Varint)
        .uint32(1)
        .raw(text("1203776562"))
        .tag(15, WireType.Varint);
      const exit = fromBinary(TaskExitSchema, source.uint32(2).raw(text("0a0161")).finish());

      expect(Buffer.from(ownCodec.encode(TaskExitSchema, exit)).toString("hex")).toBe(
        "0a016112037765629806017802",
      );
      const plain = ownCodec.encode(TaskExitSchema, { pid: 1, id: "b", containerId: "a" });
      expect(Buffer.from(plain).toString("hex")).toBe("0a01611201621801");
    });
  });

  /*
   * A comparison that cannot fail proves nothing: each of these codecs has one bug, and each must be found.
   */
  describe("finds a codec that", () => {
    /** The mismatches that are found in values of one type. */
    async function faults(desc: DescMessage, codec: Codec): Promise<Mismatch[]> {
      const report = new Report();
      await compareType(report, { peer: peer(), desc, type: typeOf(desc), seed: SEED, count: 300, codec });
      return report.mismatches;
    }

    /** Changes the encoded bytes. */
    const encoding = (change: (bytes: Uint8Array) => Uint8Array): Codec => ({
      ...ownCodec,
      encode: (desc, message) => change(ownCodec.encode(desc, message).slice()),
    });

    /** Changes messages before they are encoded. */
    const before = (change: (message: Message & Record<string, unknown>) => void): Codec => ({
      ...ownCodec,
      encode(desc, message) {
        const copy = fromBinary(desc, toBinary(desc, create(desc, message)));
        change(copy as Message & Record<string, unknown>);
        return ownCodec.encode(desc, copy);
      },
    });

    /** Changes messages after they are decoded. */
    const after = (change: (message: Message & Record<string, unknown>) => void): Codec => ({
      ...ownCodec,
      decode(desc, bytes) {
        const message = ownCodec.decode(desc, bytes);
        change(message as Message & Record<string, unknown>);
        return message;
      },
    });

    let calls = 0;

    it.each<[fault: string, desc: DescMessage, codec: Codec]>([
      [
        "flips a bit of the last byte",
        TaskExitSchema,
        encoding((bytes) => {
          const last = bytes.length - 1;
          if (last >= 0) bytes[last] = (bytes[last] ?? 0) ^ 1;
          return bytes;
        }),
      ],
      ["leaves out the last byte", TaskExitSchema, encoding((bytes) => bytes.subarray(0, -1))],
      [
        "flips a bit in one value of a hundred",
        TaskExitSchema,
        encoding((bytes) => {
          if (++calls % 100 === 0 && bytes.length > 0) bytes[0] = (bytes[0] ?? 0) ^ 0x80;
          return bytes;
        }),
      ],
      [
        "writes a field that has its default",
        TaskExitSchema,
        encoding((bytes) => (bytes.length === 0 ? text("1800") : bytes)),
      ],
      [
        "writes an integer in more bytes than it needs",
        MemoryStatSchema,
        encoding((bytes) =>
          bytes[0] === 0x08 && (bytes[1] ?? 0) < 0x80
            ? Buffer.concat([Buffer.from([8, (bytes[1] ?? 0) | 0x80, 0]), bytes.subarray(2)])
            : bytes,
        ),
      ],
      [
        "writes the first of two fields last",
        PSIDataSchema,
        encoding((bytes) =>
          bytes.length >= 18 && bytes[0] === 9
            ? Buffer.concat([bytes.subarray(9), bytes.subarray(0, 9)])
            : bytes,
        ),
      ],
      ["leaves out unknown fields", TaskExitSchema, before((message) => delete message.$unknown)],
      ["forgets unknown fields", TaskExitSchema, after((message) => delete message.$unknown)],
      [
        "writes negative zero as zero",
        PSIDataSchema,
        before((message) => (message["avg10"] = (message["avg10"] as number) + 0)),
      ],
      [
        "reads negative zero as zero",
        PSIDataSchema,
        after((message) => (message["avg10"] = (message["avg10"] as number) + 0)),
      ],
      [
        "writes NaN as zero",
        PSIDataSchema,
        before((message) => (message["avg60"] = (message["avg60"] as number) || 0)),
      ],
      [
        "leaves out an empty string that is set",
        BootstrapParamsSchema,
        before((message) => {
          if (message["socketDir"] === "") delete message["socketDir"];
        }),
      ],
      [
        "rounds 64-bit integers",
        MemoryStatSchema,
        after((message) => (message["anon"] = BigInt(Number(message["anon"])))),
      ],
      [
        "reverses lists",
        MountSchema,
        after((message) => (message["options"] = (message["options"] as string[]).toReversed())),
      ],
      [
        "loses the key __proto__ of a map",
        ContainerUpdateSchema,
        after((message) => {
          const labels: Record<string, unknown> = {};
          Object.assign(labels, message["labels"]);
          message["labels"] = labels;
        }),
      ],
      [
        "strips a byte order mark from a string",
        TaskExitSchema,
        after((message) => (message["containerId"] = String(message["containerId"]).replace(/^\ufeff/, ""))),
      ],
      [
        "writes the entries of a map in another order each time",
        ContainerUpdateSchema,
        before((message) => {
          const entries = Object.entries(message["labels"] as object);
          message["labels"] = Object.fromEntries(++calls % 2 === 0 ? entries : entries.toReversed());
        }),
      ],
      [
        "reads only lists of the form that it writes",
        CPUUsageSchema,
        {
          ...ownCodec,
          decode(desc, bytes) {
            const message = ownCodec.decode(desc, bytes);
            const isOwn = Buffer.compare(ownCodec.encode(desc, message), bytes) === 0;
            return isOwn ? message : Object.assign(message, { perCpu: [] });
          },
        },
      ],
      [
        "loses an unknown enum value",
        BootstrapResultSchema,
        after(
          (message) =>
            (message["capabilities"] = (message["capabilities"] as number[]).filter((value) => value === 0)),
        ),
      ],
    ])("%s", async (_, desc, codec) => {
      expect(await faults(desc, ownCodec)).toEqual([]);

      // A refusal by the codec itself does not count.
      const found = (await faults(desc, codec)).filter(({ what }) => !what.startsWith("Node refuses"));
      expect(found).not.toEqual([]);
    });

    it("flips a bit, and reports the value and what each side had", async () => {
      const codec = encoding((bytes) => {
        if (bytes.length === 2 && bytes[0] === 0x18) bytes[1] = (bytes[1] ?? 0) ^ 1;
        return bytes;
      });

      const found = await faults(TaskExitSchema, codec);

      const mismatch = found.find(({ what }) => what === "Rust decodes another value");
      expect(mismatch).toMatchObject({ type: "containerd.events.TaskExit", from: "Node", seed: SEED });
      expect(mismatch?.node).not.toBe(mismatch?.rust);
      expect(mismatch?.node).toMatch(/^\{"3:pid:uint32":\d+\}$/);
    });
  });

  it("compares values as text that distinguishes similar values", () => {
    const texts = [
      dump(PSIDataSchema, create(PSIDataSchema)),
      dump(PSIDataSchema, create(PSIDataSchema, { avg10: -0 })),
      dump(PSIDataSchema, create(PSIDataSchema, { avg10: Number.NaN })),
      dump(PSIDataSchema, create(PSIDataSchema, { avg60: -0 })),
      dump(BootstrapParamsSchema, create(BootstrapParamsSchema)),
      dump(BootstrapParamsSchema, create(BootstrapParamsSchema, { socketDir: "" })),
    ];
    expect(texts).toEqual([
      "{}",
      '{"1:avg10:double":"8000000000000000"}',
      '{"1:avg10:double":"NaN"}',
      '{"2:avg60:double":"8000000000000000"}',
      "{}",
      '{"9:socket_dir:string":""}',
    ]);
  });
});
