import type { Buffer } from "node:buffer";

/** Where the value of a field lies: a number, or the bytes between `at` and `end`. */
export interface Span {
  readonly at: number;
  readonly end: number;
}

/** The fields of a message of descriptor.proto, by number: integers, and the spans of everything else. */
export class Fields {
  readonly #bytes: Buffer;
  readonly #integers = new Map<number, number>();
  readonly #spans = new Map<number, Span[]>();

  /** Descriptors have no fields that are neither varints nor delimited by a length, options of doubles aside. */
  constructor(bytes: Buffer, { at, end }: Span) {
    this.#bytes = bytes;
    const next = (): number => {
      let value = 0;
      // Beyond 32 bits only options have varints, which nothing here reads.
      for (let shift = 0; ; shift += 7) {
        const byte = bytes[at++]!;
        value |= (byte & 127) << shift;
        if (byte < 128) return value;
      }
    };
    while (at < end) {
      const tag = next();
      const number = tag >>> 3;
      switch (tag & 7) {
        case 0:
          this.#integers.set(number, next());
          break;
        case 1:
          at += 8;
          break;
        case 5:
          at += 4;
          break;
        default: {
          const length = next();
          const span = { at, end: at + length };
          const spans = this.#spans.get(number);
          if (spans === undefined) this.#spans.set(number, [span]);
          else spans.push(span);
          at = span.end;
        }
      }
    }
  }

  integer(number: number): number | undefined {
    return this.#integers.get(number);
  }

  /** A string field's value; empty if it is not there. */
  string(number: number): string {
    return this.strings(number)[0] ?? "";
  }

  strings(number: number): string[] {
    return this.spans(number).map(({ at, end }) => this.#bytes.toString("utf8", at, end));
  }

  spans(number: number): readonly Span[] {
    return this.#spans.get(number) ?? [];
  }

  /** The messages of a field. */
  messages(number: number): Fields[] {
    return this.spans(number).map((span) => new Fields(this.#bytes, span));
  }

  /** Whether a field of the options has this value; the options are in field `number`. */
  option(number: number, field: number): number | undefined {
    return this.messages(number)[0]?.integer(field);
  }
}
