import { type ChildProcess, spawn } from "node:child_process";

/** A message type in Rust: its full name and the signatures of its fields, `number:name:type`. */
export type PeerType = readonly [name: string, fields: readonly string[]];

/** The outcome of bytes that Rust was given. */
export type Echo =
  | {
      readonly ok: true;
      /** The encoding of the decoded value by Rust. */
      readonly bytes: Buffer;
      /** The decoded value as text; see dump.ts. */
      readonly text: string;
    }
  | { readonly ok: false; readonly error: string };

/** A value that Rust generated. */
export interface Made {
  readonly bytes: Buffer;
  readonly text: string;
}

const Command = { Types: 0, Echo: 1, Random: 2, Frame: 3, Topics: 4 } as const;

/** The Rust side of the comparison, in a process of its own. rust/src/main.rs describes its requests. */
export class ParityPeer implements Disposable {
  readonly #child: ChildProcess;
  readonly #waiting: { resolve(answer: Buffer): void; reject(error: Error): void }[] = [];
  #chunks: Buffer[] = [];
  #buffered = 0;

  constructor(executable: string) {
    const child = spawn(executable, { stdio: ["pipe", "pipe", "inherit"] });
    this.#child = child;
    child.stdout.on("data", (chunk: Buffer) => this.#received(chunk));
    child.stdin.on("error", () => undefined);
    const over = (why: string) => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error(`the parity peer ${why}`));
    };
    child.on("error", (error) => over(`did not start: ${error.message}`));
    child.on("close", (code, signal) => over(`ended with ${signal ?? code}`));
  }

  /** All its types, in the order of their indexes. */
  async types(): Promise<PeerType[]> {
    return JSON.parse((await this.#ask(Command.Types)).toString()) as PeerType[];
  }

  /** Decodes and encodes messages of one type. */
  async echo(type: number, messages: readonly Uint8Array[]): Promise<Echo[]> {
    const parts: Uint8Array[] = [integer(type, 2)];
    for (const message of messages) parts.push(integer(message.length, 4), message);
    const answer = new Reader(await this.#ask(Command.Echo, ...parts));
    return messages.map(() => {
      if (answer.byte() === 1) return { ok: false, error: answer.bytes().toString() };
      return { ok: true, bytes: answer.bytes(), text: answer.bytes().toString() };
    });
  }

  /** Generates values of one type. */
  async random(type: number, seed: bigint, count: number): Promise<Made[]> {
    const seedBytes = Buffer.alloc(8);
    seedBytes.writeBigUInt64LE(BigInt.asUintN(64, seed));
    const answer = new Reader(
      await this.#ask(Command.Random, integer(type, 2), seedBytes, integer(count, 4)),
    );
    return Array.from({ length: count }, () => ({ bytes: answer.bytes(), text: answer.bytes().toString() }));
  }

  /** Encodes a frame with the ttrpc crate. */
  frame(frame: FrameInit): Promise<Buffer> {
    return this.#ask(Command.Frame, Buffer.from(JSON.stringify(toPlain(frame))));
  }

  /** The event topics of the crate: names of constants and their values. */
  async topics(): Promise<Record<string, string>> {
    return JSON.parse((await this.#ask(Command.Topics)).toString()) as Record<string, string>;
  }

  [Symbol.dispose](): void {
    this.#child.kill("SIGKILL");
  }

  #ask(command: number, ...parts: readonly Uint8Array[]): Promise<Buffer> {
    const { stdin, exitCode } = this.#child;
    if (stdin === null || exitCode !== null) return Promise.reject(new Error("the parity peer has ended"));
    const length = parts.reduce((sum, part) => sum + part.length, 1);
    stdin.write(Buffer.concat([integer(length, 4), integer(command, 1), ...parts]));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
    });
  }

  #received(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#buffered += chunk.length;
    for (;;) {
      const [first] = this.#chunks;
      if (first === undefined || this.#buffered < 4) return;
      if (first.length < 4) this.#chunks = [Buffer.concat(this.#chunks)];
      const length = (this.#chunks[0] ?? first).readUInt32LE(0);
      if (this.#buffered < 4 + length) return;
      const all = Buffer.concat(this.#chunks);
      this.#chunks = [all.subarray(4 + length)];
      this.#buffered -= 4 + length;
      this.#answered(all.subarray(4, 4 + length));
    }
  }

  #answered(answer: Buffer): void {
    const waiting = this.#waiting.shift();
    if (answer[0] === 0) waiting?.resolve(answer.subarray(1));
    else waiting?.reject(new Error(`the parity peer: ${answer.toString("utf8", 1)}`));
  }
}

/** A frame to encode: its header, and a body of one kind. */
export interface FrameInit {
  readonly streamId: number;
  readonly type: number;
  readonly flags: number;
  readonly request?: {
    readonly service: string;
    readonly method: string;
    readonly payload: Uint8Array;
    readonly timeoutNano: bigint;
    readonly metadata: readonly (readonly [key: string, value: string])[];
  };
  readonly response?: {
    readonly status?: {
      readonly code: number;
      readonly message: string;
      readonly details: readonly { readonly typeUrl: string; readonly value: Uint8Array }[];
    };
    readonly payload: Uint8Array;
  };
  readonly data?: Uint8Array;
}

/** Bytes as strings in hexadecimal, and bigints as strings of digits. */
function toPlain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  if (typeof value === "bigint") return String(value);
  if (Array.isArray(value)) return value.map(toPlain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, toPlain(inner)]));
}

function integer(value: number, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  bytes.writeUIntLE(value, 0, size);
  return bytes;
}

/** Reads an answer from front to back. */
class Reader {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  byte(): number {
    return this.#buffer.readUInt8(this.#at++);
  }

  bytes(): Buffer {
    const start = this.#at + 4;
    this.#at = start + this.#buffer.readUInt32LE(this.#at);
    return this.#buffer.subarray(start, this.#at);
  }
}
