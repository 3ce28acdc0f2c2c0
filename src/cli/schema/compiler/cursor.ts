import type { UsageError } from "../../errors.js";
import { bytesOf, type Source, type Token, tokensOf } from "./tokens.js";

/** The largest whole number in the language. */
const LARGEST = 2n ** 64n - 1n;

/** A place in a source, from which tokens are taken one by one. */
export class Cursor {
  readonly source: Source;
  readonly #tokens: readonly Token[];
  #index = 0;

  constructor(source: Source) {
    this.source = source;
    this.#tokens = tokensOf(source);
  }

  /** The next token, or one after it. */
  peek(ahead = 0): Token {
    return this.#tokens[Math.min(this.#index + ahead, this.#tokens.length - 1)]!;
  }

  /** The token that was taken last. */
  get last(): Token {
    return this.#tokens[Math.max(this.#index - 1, 0)]!;
  }

  /** Takes the next token. */
  next(): Token {
    const token = this.peek();
    if (token.kind !== "end") this.#index++;
    return token;
  }

  /** Whether the next token is this one. A string never is. */
  at(text: string, ahead = 0): boolean {
    const token = this.peek(ahead);
    return token.text === text && token.kind !== "string" && token.kind !== "end";
  }

  /** Takes the next token if it is this one. */
  accept(text: string): boolean {
    if (!this.at(text)) return false;
    this.#index++;
    return true;
  }

  /** Takes a token that must be there. */
  expect(text: string): Token {
    if (!this.at(text)) throw this.unexpected(`"${text}"`);
    return this.next();
  }

  /** The error for a next token that is not the one `wanted`. */
  unexpected(wanted: string): UsageError {
    const { kind, text, at } = this.peek();
    return this.source.error(at, `expected ${wanted}, not ${kind === "end" ? text : JSON.stringify(text)}`);
  }

  identifier(what: string): Token {
    if (this.peek().kind !== "identifier") throw this.unexpected(what);
    return this.next();
  }

  /** Identifiers with dots between them. */
  fullName(what: string): string {
    let name = this.identifier(what).text;
    while (this.accept(".")) name += `.${this.identifier(what).text}`;
    return name;
  }

  /** A name that may begin with a dot, as references do. */
  reference(what: string): { readonly name: string; readonly at: number } {
    const { at } = this.peek();
    return { name: (this.accept(".") ? "." : "") + this.fullName(what), at };
  }

  /** A whole number within limits. */
  integer(what: string, least: number, most: number): number {
    const { at } = this.peek();
    const negative = this.accept("-");
    if (this.peek().kind !== "integer") throw this.unexpected(what);
    const value = integerOf(this.next().text) * (negative ? -1n : 1n);
    if (value < least || value > most) {
      throw this.source.error(at, `${what} must be from ${least} to ${most}, not ${value}`);
    }
    return Number(value);
  }

  /** The bytes of a string, which may be in several parts. */
  bytes(what: string): Buffer {
    if (this.peek().kind !== "string") throw this.unexpected(what);
    const parts: Buffer[] = [];
    while (this.peek().kind === "string") parts.push(bytesOf(this.next(), this.source));
    return Buffer.concat(parts);
  }

  string(what: string): string {
    const { at } = this.peek();
    const bytes = this.bytes(what);
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      throw this.source.error(at, `${what} must be UTF-8`);
    }
  }

  /** Takes a pair of brackets and what is between them, as written but without comments. */
  bracketed(): string {
    const closing: string[] = [];
    let text = "";
    let end = this.peek().at;
    do {
      const token = this.next();
      const partner = token.kind === "symbol" ? { "{": "}", "[": "]", "<": ">" }[token.text] : undefined;
      if (partner !== undefined) closing.push(partner);
      else if (token.kind === "end" || (token.kind === "symbol" && "}]>".includes(token.text))) {
        if (closing.pop() !== token.text) {
          throw this.source.error(token.at, `expected a closing bracket, not ${token.text}`);
        }
      }
      text += (token.at > end ? " " : "") + token.text;
      end = token.at + token.text.length;
    } while (closing.length > 0);
    return text;
  }
}

/** The value of a token of kind integer; 0x before it means hexadecimal, 0 octal. */
export function integerOf(text: string): bigint {
  const value = BigInt(/^0[0-7]+$/.test(text) ? `0o${text.slice(1)}` : text);
  // A larger one is too large for every use, so its exact value does not matter.
  return value > LARGEST ? LARGEST + 1n : value;
}
