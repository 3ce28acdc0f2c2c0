import { create, type DescMessage, type Message, type MessageInitShape } from "@bufbuild/protobuf";
import { decode, encode } from "../../src/codec/codec.js";
import { canonical, type Freedom } from "./canonical.js";
import { dump } from "./dump.js";
import type { Echo, Made, ParityPeer } from "./peer.js";
import { Random } from "./random.js";
import { rewrite } from "./rewrite.js";
import { makeValue, type Shape } from "./values.js";

/** What is compared with Rust. */
export interface Codec {
  encode(desc: DescMessage, message: MessageInitShape<DescMessage>): Uint8Array;
  decode(desc: DescMessage, bytes: Uint8Array): Message;
}

/** The codec of this package. */
export const ownCodec: Codec = { encode, decode };

/** One thing that Node and Rust do not agree upon. */
export interface Mismatch {
  readonly type: string;
  /** Who made up the value. */
  readonly from: "Node" | "Rust";
  /** With these two, it can be made up again. */
  readonly seed: number;
  readonly index: number;
  readonly what: string;
  readonly node: string;
  readonly rust: string;
}

export class Report {
  /** The names of the types that were compared. */
  readonly types = new Set<string>();
  /** How many values were compared. */
  values = 0;
  /** How many encodings were equal byte for byte, and how many but for what Rust does as it likes. */
  identical = 0;
  readonly freedoms = new Map<Freedom, number>();
  readonly mismatches: Mismatch[] = [];

  /** One line for people. */
  toString(): string {
    const free = [...this.freedoms].map(([freedom, times]) => `${freedom} ${times}`).join(", ");
    return (
      `${this.types.size} types, ${this.values} values, ${this.mismatches.length} mismatches; ` +
      `${this.identical} encodings alike byte for byte, the others but for Rust's own order (${free || "none"})`
    );
  }
}

/** What to compare, and with what. */
export interface Comparison {
  readonly peer: ParityPeer;
  readonly desc: DescMessage;
  /** The index that Rust has for the type. */
  readonly type: number;
  readonly seed: number;
  /** How many values each side makes up. */
  readonly count: number;
  readonly codec?: Codec;
}

/** Compares values of one type, of which each side makes up half, and adds what it finds to the report. */
export async function compareType(report: Report, comparison: Comparison): Promise<void> {
  const { peer, desc, type, seed, count, codec = ownCodec } = comparison;
  report.types.add(desc.typeName);
  const fail = (from: Mismatch["from"], index: number) => (what: string, node: string, rust: string) => {
    report.mismatches.push({ type: desc.typeName, from, seed, index, what, node, rust });
  };

  const made = peer.random(type, BigInt(seed), count);
  const own = Array.from({ length: count }, (_, index) => {
    const random = Random.of(seed, desc.typeName, index);
    const shape: Shape = index % 3 === 0 ? "plain" : "message";
    const value = makeValue(desc, random, shape) as MessageInitShape<DescMessage>;
    const text = dump(desc, create(desc, value));
    return { value, text, bytes: attempt(() => codec.encode(desc, value)) };
  });
  const encoded = own.map(({ bytes }) => (bytes instanceof Error ? new Uint8Array() : bytes));
  const rewritten = encoded.map((bytes, index) => {
    const result = attempt(() => rewrite(desc, bytes, Random.of(seed, `${desc.typeName} rewritten`, index)));
    // What cannot be read is found out below.
    return result instanceof Error ? bytes : result;
  });
  const [echoes, echoesRewritten] = await Promise.all([peer.echo(type, encoded), peer.echo(type, rewritten)]);
  for (const [index, { text, bytes }] of own.entries()) {
    report.values++;
    compareOwn(fail("Node", index), { report, desc, codec, text, bytes, echo: echoes[index] });
    compareRewritten(fail("Node", index), {
      desc,
      codec,
      text,
      bytes: rewritten[index] ?? new Uint8Array(),
      echo: echoesRewritten[index],
    });
  }
  for (const [index, value] of (await made).entries()) {
    report.values++;
    compareMade(fail("Rust", index), { report, desc, codec, made: value });
  }
}

type Fail = (what: string, node: string, rust: string) => void;

interface Common {
  readonly report: Report;
  readonly desc: DescMessage;
  readonly codec: Codec;
}

interface Own extends Common {
  readonly text: string;
  readonly bytes: Uint8Array | Error;
  readonly echo: Echo | undefined;
}

function compareOwn(fail: Fail, { report, desc, codec, text, bytes, echo }: Own): void {
  if (bytes instanceof Error) return fail("Node refuses its own value", bytes.message, text);
  if (echo?.ok !== true) return fail("Rust refuses the bytes", hex(bytes), echo?.error ?? "no answer");
  if (echo.text !== text) fail("Rust decodes another value", text, echo.text);
  compareBytes(fail, report, desc, bytes, echo.bytes);
  const decoded = attempt(() => codec.decode(desc, bytes));
  if (decoded instanceof Error) return fail("Node refuses its own bytes", decoded.message, hex(bytes));
  const back = dump(desc, decoded);
  if (back !== text) fail("Node decodes another value than it encoded", back, text);
  const again = attempt(() => codec.encode(desc, decoded));
  if (again instanceof Error) return fail("Node refuses what it decoded", again.message, text);
  if (!equal(again, bytes)) fail("Node's order is not its own", hex(again), hex(bytes));
}

/** Compares what both read from bytes that neither would write. */
function compareRewritten(
  fail: Fail,
  { desc, codec, text, bytes, echo }: Omit<Own, "report"> & { readonly bytes: Uint8Array },
): void {
  if (echo?.ok !== true) return fail("Rust refuses rewritten bytes", hex(bytes), echo?.error ?? "no answer");
  if (echo.text !== text) fail("Rust decodes another value from rewritten bytes", hex(bytes), echo.text);
  const decoded = attempt(() => codec.decode(desc, bytes));
  if (decoded instanceof Error) return fail("Node refuses rewritten bytes", decoded.message, hex(bytes));
  const read = dump(desc, decoded);
  if (read !== text) fail("Node decodes another value from rewritten bytes", read, text);
}

interface MadeByRust extends Common {
  readonly made: Made;
}

function compareMade(fail: Fail, { report, desc, codec, made }: MadeByRust): void {
  const decoded = attempt(() => codec.decode(desc, made.bytes));
  if (decoded instanceof Error) return fail("Node refuses the bytes", decoded.message, hex(made.bytes));
  const text = dump(desc, decoded);
  if (text !== made.text) fail("Node decodes another value", text, made.text);
  const bytes = attempt(() => codec.encode(desc, decoded));
  if (bytes instanceof Error) return fail("Node refuses what it decoded", bytes.message, made.text);
  compareBytes(fail, report, desc, bytes, made.bytes);
}

/** Compares what both encode one value to. */
function compareBytes(
  fail: Fail,
  report: Report,
  desc: DescMessage,
  node: Uint8Array,
  rust: Uint8Array,
): void {
  if (equal(node, rust)) {
    report.identical++;
    return;
  }
  const ours = attempt(() => canonical(desc, node));
  if (ours instanceof Error) return fail("Node's bytes are no message", ours.message, hex(rust));
  if (!ours.ordered) fail("Node's fields are not in the order of their numbers", hex(node), hex(rust));
  if (!ours.freedoms.has("negative enum")) {
    const theirs = attempt(() => canonical(desc, rust));
    if (theirs instanceof Error) return fail("Rust's bytes are no message", hex(node), theirs.message);
    if (ours.freedoms.size === 0 || !equal(ours.bytes, theirs.bytes)) {
      return fail("the bytes differ", hex(node), hex(rust));
    }
  }
  for (const freedom of ours.freedoms) report.freedoms.set(freedom, (report.freedoms.get(freedom) ?? 0) + 1);
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function attempt<T>(action: () => T): T | Error {
  try {
    return action();
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
