/** Random numbers determined by a seed: SplitMix32. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** The generator of one value of a type. */
  static of(seed: number, name: string, index: number): Random {
    let hash = 0x811c9dc5 ^ seed;
    for (const byte of Buffer.from(name)) hash = Math.imul(hash ^ byte, 0x01000193);
    return new Random(new Random(hash).next() + Math.imul(index, 0x9e3779b9));
  }

  /** 32 bits. */
  next(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  }

  /** An integer from 0 to below `limit`. */
  below(limit: number): number {
    return this.next() % limit;
  }

  /** True once in so many times, on average. */
  onceIn(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  /** 64 bits. */
  long(): bigint {
    return (BigInt(this.next()) << 32n) | BigInt(this.next());
  }

  bytes(length: number): Uint8Array {
    const bytes = Buffer.allocUnsafe(length + 3);
    let at = 0;
    for (; at + 4 <= bytes.length; at += 4) bytes.writeUInt32LE(this.next(), at);
    for (; at < bytes.length; at++) bytes[at] = this.next();
    return bytes.subarray(0, length);
  }

  /** A text of printable characters, some of them longer than one byte. */
  word(): string {
    return Array.from({ length: this.below(20) }, () =>
      this.onceIn(6) ? this.pick(["é", "日", "🎉"]) : String.fromCodePoint(0x21 + this.below(0x5e)),
    ).join("");
  }
}
