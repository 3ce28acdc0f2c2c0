import { UsageError } from "../../errors.js";

/** A token of a .proto file. */
export interface Token {
  readonly kind: "identifier" | "integer" | "float" | "string" | "symbol" | "end";
  /** As written in the source. */
  readonly text: string;
  /** Where it begins, as an index into the source. */
  readonly at: number;
}

/** The text of a .proto file, and the file's name for errors. */
export class Source {
  constructor(
    readonly file: string,
    readonly text: string,
  ) {}

  /** The error for something at an index, with file, line and column. */
  error(at: number, what: string): UsageError {
    const before = this.text.slice(0, at).split("\n");
    const column = (before.at(-1)?.length ?? 0) + 1;
    return new UsageError(`${this.file}, line ${before.length}, column ${column}: ${what}`);
  }
}

const BLANK = /(?:[ \t\r\n\f\v]+|\/\/[^\n]*|\/\*[^]*?\*\/)*/y;
const IDENTIFIER = /[A-Za-z_]\w*/y;
// As much as looks like a number. Whether it is one, and ends there, is checked after the match.
const NUMBER = /0[xX][\da-fA-F]+|\d+\.\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\d+/y;
const STRING = /"[^"\\\n\0]*(?:\\[^\n\0][^"\\\n\0]*)*"|'[^'\\\n\0]*(?:\\[^\n\0][^'\\\n\0]*)*'/y;
const SYMBOLS = new Set("{}[]()<>=;,.:-+/");

/** All tokens of a source, then one of kind `end`. Comments and blanks are skipped. */
export function tokensOf(source: Source): Token[] {
  const { text } = source;
  const tokens: Token[] = [];
  let at = text.startsWith("\uFEFF") ? 1 : 0;
  const matched = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    return pattern.exec(text)?.[0];
  };
  for (;;) {
    at += matched(BLANK)?.length ?? 0;
    const first = text[at];
    if (first === undefined) return [...tokens, { kind: "end", text: "the end of the file", at }];
    if (text.startsWith("/*", at)) throw source.error(at, "the comment does not end");
    const token = word();
    tokens.push(token);
    at += token.text.length;
  }

  function word(): Token {
    const identifier = matched(IDENTIFIER);
    if (identifier !== undefined) return { kind: "identifier", text: identifier, at };
    const number = matched(NUMBER);
    if (number !== undefined) {
      const next = text[at + number.length];
      const integer = /^(?:0[xX][\da-fA-F]+|0[0-7]*|[1-9]\d*)$/.test(number);
      const well = integer || /[.eE]/.test(number);
      if (!well || (next !== undefined && /[\w.]/.test(next))) {
        throw source.error(at, `${JSON.stringify(number + (next ?? ""))} is not a number`);
      }
      return { kind: integer ? "integer" : "float", text: number, at };
    }
    const string = matched(STRING);
    if (string !== undefined) return { kind: "string", text: string, at };
    const symbol = String.fromCodePoint(text.codePointAt(at) ?? 0);
    if (SYMBOLS.has(symbol)) return { kind: "symbol", text: symbol, at };
    if (symbol === '"' || symbol === "'") throw source.error(at, "the string does not end on its line");
    throw source.error(at, `unexpected ${JSON.stringify(symbol)}`);
  }
}

const SIMPLE: Readonly<Record<string, number>> = {
  a: 7,
  b: 8,
  f: 12,
  n: 10,
  r: 13,
  t: 9,
  v: 11,
  "\\": 92,
  "'": 39,
  '"': 34,
  "?": 63,
};
const ESCAPE =
  /\\(?:([abfnrtv\\'"?])|([0-7]{1,3})|[xX]([\da-fA-F]{1,2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([^]?))/g;

/** The bytes that a token of kind string stands for. */
export function bytesOf({ text, at }: Token, source: Source): Buffer {
  const parts: Buffer[] = [];
  const inner = text.slice(1, -1);
  let done = 0;
  for (const match of inner.matchAll(ESCAPE)) {
    const [whole, simple, octal, hex, short, long] = match;
    parts.push(Buffer.from(inner.slice(done, match.index)));
    done = match.index + whole.length;
    const byte =
      simple !== undefined
        ? SIMPLE[simple]
        : octal !== undefined
          ? Number.parseInt(octal, 8)
          : hex !== undefined
            ? Number.parseInt(hex, 16)
            : undefined;
    const point = short ?? long;
    if (byte !== undefined && byte <= 0xff) parts.push(Buffer.of(byte));
    else if (point !== undefined && Number.parseInt(point, 16) <= 0x10_ffff) {
      parts.push(Buffer.from(String.fromCodePoint(Number.parseInt(point, 16))));
    } else throw source.error(at + 1 + match.index, `unknown escape ${whole}`);
  }
  parts.push(Buffer.from(inner.slice(done)));
  return Buffer.concat(parts);
}
