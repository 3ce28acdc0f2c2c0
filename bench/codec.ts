/**
 * Compares the codec with protobuf-es, ts-proto and protobufjs (static code) on containerd's messages: nanoseconds of
 * CPU time per message to encode and to decode, all in turn, in several rounds. Prints medians, and how many times as
 * fast this codec is.
 *
 * It also measures the first message of a type, in microseconds, in a process that has used neither library for it yet.
 *
 * `npm run bench -- codec`, or `npm run bench -- codec --rounds 15 --only ForwardRequest`.
 *
 * Each run uses another of 16 messages that differ in their ids, so that no library gains from having seen one.
 * Encoding starts from each library's own input. Ours accepts plain objects and protobuf-es's messages, and checks
 * them; each is measured in a separate process, because a program uses one or the other. Decoding makes views of the
 * bytes, as the others do. It is also measured with copied bytes, as from the batch, against fromBinary with a copy of
 * the bytes that it may keep.
 */

import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { create, type DescMessage, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import { decode, decodeFrom, encode, encodeInto } from "../src/codec/codec.js";
import { type Contenders, contenders, generate, writeDescriptors } from "./contenders/codecs.js";
import { type Sample, samples } from "./contenders/messages.js";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "11" },
    milliseconds: { type: "string", default: "40" },
    only: { type: "string", default: "" },
    /** How many processes measure a first message, for each of the two libraries. */
    starts: { type: "string", default: "15" },
    /** What a child process measures. */
    part: { type: "string" },
  },
});
const rounds = Number(values.rounds);
const milliseconds = Number(values.milliseconds);

/** How many messages of each kind there are. */
const VARIANTS = 16;

type Run = (index: number) => unknown;
type Figures = Record<string, number>;

/** Nanoseconds of CPU time per run, including garbage collection but not other processes. */
function measure(run: Run, count: number): number {
  let sum = 0;
  const start = process.cpuUsage();
  for (let index = 0; index < count; index++) if (run(index & (VARIANTS - 1)) !== undefined) sum++;
  const { user, system } = process.cpuUsage(start);
  if (sum !== count) throw new Error("a run gave nothing");
  return ((user + system) * 1000) / count;
}

const median = (numbers: number[]) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN;

/** Runs all in turn, and returns the median of each. */
function compare(runs: Record<string, Run>): Figures {
  const counts = new Map<string, number>();
  const taken = new Map<string, number[]>();
  for (const [name, run] of Object.entries(runs)) {
    // Long enough for V8 to have optimized it for good.
    const until = performance.now() + 300;
    while (performance.now() < until) measure(run, VARIANTS);
    counts.set(name, Math.max(VARIANTS, Math.round((milliseconds * 1e6) / measure(run, VARIANTS))));
    taken.set(name, []);
  }
  for (let round = 0; round < rounds; round++) {
    for (const [name, run] of Object.entries(runs)) {
      taken.get(name)?.push(measure(run, counts.get(name) ?? 1));
    }
  }
  return Object.fromEntries([...taken].map(([name, all]) => [name, median(all)]));
}

/** Checks that the contenders do the same work. They may write fields in another order. */
function checkSame(what: string, written: Uint8Array, expected: Uint8Array | undefined): void {
  if (expected === undefined || Buffer.compare(written, expected) !== 0)
    throw new Error(`${what} wrote other bytes`);
}

async function measurePart(part: string, { desc, make }: Sample, others: Contenders): Promise<Figures> {
  const tsProto = await others.tsProto(desc);
  const protobufJs = await others.protobufJs(desc);
  const plain = Array.from({ length: VARIANTS }, (_, index) => make(index));
  const messages = plain.map((init) => create(desc, init) as Message);
  const bytes = messages.map((message) => toBinary(desc as DescMessage, message));
  const buffers = bytes.map((one) => Buffer.from(one));
  const theirs = bytes.map((one) => tsProto.decode(one));
  const statics = buffers.map((one) => protobufJs.decode(one));
  const inOrder = (written: Uint8Array) => toBinary(desc, fromBinary(desc, written));
  bytes.forEach((one, index) => {
    checkSame("ts-proto", inOrder(tsProto.encode(theirs[index]).finish()), one);
    checkSame("protobufjs", inOrder(protobufJs.encode(statics[index]).finish()), one);
  });
  const length = bytes[0]?.length ?? 0;
  if (part === "decode") {
    bytes.forEach((one, index) => checkSame("this", toBinary(desc, decode(desc, one)), bytes[index]));
    const figures = compare({
      views: (index) => decode(desc, bytes[index]!),
      "from the batch": (index) => decodeFrom(desc, bytes[index]!, 0, bytes[index]!.length),
      fromBinary: (index) => fromBinary(desc, bytes[index]!),
      "copy + fromBinary": (index) => fromBinary(desc, bytes[index]!.slice()),
      "ts-proto": (index) => tsProto.decode(bytes[index]!),
      protobufjs: (index) => protobufJs.decode(buffers[index]!),
    });
    return { length, ...figures };
  }
  const batch = new Uint8Array(5 << 20);
  const inputs = part === "plain" ? plain : messages;
  inputs.forEach((input, index) => checkSame("this", encode(desc, input), bytes[index]));
  const figures = compare({
    "into the batch": (index) => encodeInto(desc, inputs[index]!, batch, 64),
    "own bytes": (index) => encode(desc, inputs[index]!),
    toBinary: (index) => toBinary(desc, messages[index]!),
    "create + toBinary": (index) => toBinary(desc, create(desc, plain[index]!)),
    "ts-proto": (index) => tsProto.encode(theirs[index]).finish(),
    protobufjs: (index) => protobufJs.encode(statics[index]).finish(),
  });
  return { length, ...figures };
}

/** The first times of both libraries, in turn, each in a separate process. */
function firstTimes(what: string, { desc, make }: Sample, descriptors: string): Figures {
  const bytes = Buffer.from(encode(desc, make(0))).toString("hex");
  const program = join(import.meta.dirname, "contenders/first.mjs");
  const taken: Record<string, number[]> = { this: [], "protobuf-es": [] };
  for (let count = Number(values.starts); count > 0; count--) {
    for (const [library, all] of Object.entries(taken)) {
      const args = [program, library, what, descriptors, desc.typeName, bytes];
      all.push(Number(execFileSync(process.execPath, args, { encoding: "utf8" })));
    }
  }
  return Object.fromEntries(Object.entries(taken).map(([library, all]) => [library, median(all)]));
}

/** Measures a part in a separate process. */
function inChild(part: string, { name }: Sample): Figures {
  const options = ["--rounds", values.rounds, "--milliseconds", values.milliseconds];
  const args = [...process.execArgv, import.meta.filename, "--part", part, "--only", name, ...options];
  return JSON.parse(execFileSync(process.execPath, args, { encoding: "utf8" })) as Figures;
}

const times = (other: number | undefined, ours: number | undefined) =>
  `${((other ?? Number.NaN) / (ours ?? Number.NaN)).toFixed(1)}×`;

function rounded({ length, ...figures }: Figures): object {
  return {
    bytes: length,
    ...Object.fromEntries(Object.entries(figures).map(([name, value]) => [name, Math.round(value)])),
  };
}

const chosen = samples().filter(({ name }) => name.includes(values.only));
if (values.part === undefined) {
  generate(samples().map(({ desc }) => desc.file));
  const encoding: object[] = [];
  const decoding: object[] = [];
  for (const sample of chosen) {
    for (const from of ["plain", "message"]) {
      const written = inChild(from, sample);
      encoding.push({
        message: sample.name,
        from,
        ...rounded(written),
        "× toBinary": times(written["toBinary"], written["into the batch"]),
        "× protobufjs": times(written["protobufjs"], written["into the batch"]),
      });
    }
    const read = inChild("decode", sample);
    decoding.push({
      message: sample.name,
      ...rounded(read),
      "× fromBinary": times(read["fromBinary"], read["views"]),
      "× protobufjs": times(read["protobufjs"], read["views"]),
      "batch × copy": times(read["copy + fromBinary"], read["from the batch"]),
    });
  }
  const first: object[] = [];
  for (const sample of chosen.filter(({ name }) => !name.includes("MiB"))) {
    const descriptors = writeDescriptors(sample.desc.file);
    for (const what of ["encode", "decode"]) {
      const { this: ours, ...others } = firstTimes(what, sample, descriptors);
      const figures = { this: Math.round(ours ?? 0), "protobuf-es": Math.round(others["protobuf-es"] ?? 0) };
      first.push({
        message: sample.name,
        what,
        ...figures,
        "× protobuf-es": times(others["protobuf-es"], ours),
      });
    }
  }
  console.log("Encoding, ns a message");
  console.table(encoding);
  console.log("Decoding, ns a message");
  console.table(decoding);
  console.log("The first one of a type, µs");
  console.table(first);
} else {
  for (const sample of chosen)
    console.log(JSON.stringify(await measurePart(values.part, sample, contenders)));
}
