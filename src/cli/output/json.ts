import { escaped } from "../../escaped.js";
import { columnsOf } from "./columns.js";
import { isNumberText, type Json, type JsonMap } from "../json-value.js";
import { onTerminal, painterOf } from "./stdout.js";
import { Text } from "./text.js";

/*
 * JSON as text for stdout: lines, layout and colours. It writes any value of json-value.ts; the JSON of a message comes
 * from message-to-json.ts.
 */

/** JSON in one line, for scripts and streams. */
export function jsonLine(value: Json): Text {
  return Text.joined(new Writer("").lines(value));
}

/** The most characters of JSON that are printed with a line for each field. */
const MOST_LAID_OUT = 1024 * 1024;

/** JSON to read: on a terminal with a line for each field, otherwise in one line. */
export function jsonText(value: Json): Text[] {
  const line = jsonLine(value);
  return onTerminal() && line.length <= MOST_LAID_OUT ? new Writer("  ").lines(value) : [line];
}

/** JSON in one line, without colours. */
export function plainJson(value: Json): Text {
  return Text.joined(new Writer("", () => (token) => token).lines(value));
}

type Colour = "yellow" | "green" | "blue";
type Paint = (token: string) => string;

/**
 * Writes JSON. Characters that control terminals become JSON's own escapes, so the value stays the same, and numbers are
 * written as they were read.
 */
class Writer {
  readonly #indent: string;
  readonly #colours: Readonly<Record<Colour, Paint>>;
  #done: Text[] = [];
  #line = "";
  #length = 0;

  /** @param indent - The indentation for each level of nesting; empty for everything in one line. */
  constructor(indent: string, painter: (colour: Colour) => Paint = painterOf) {
    this.#indent = indent;
    this.#colours = { yellow: painter("yellow"), green: painter("green"), blue: painter("blue") };
  }

  lines(value: Json): Text[] {
    this.#value(value, "");
    this.#end();
    return this.#done;
  }

  #end(): void {
    this.#done.push(Text.trusted(this.#line, this.#length));
    this.#line = "";
    this.#length = 0;
  }

  #put(token: string, colour?: Colour): void {
    this.#line += colour === undefined ? token : this.#colours[colour](token);
    this.#length += columnsOf(token);
  }

  #break(indent: string): void {
    if (this.#indent === "") return;
    this.#end();
    this.#put(indent);
  }

  #value(value: Json, indent: string): void {
    if (typeof value === "string") this.#put(quoted(value), "green");
    else if (isNumberText(value)) this.#put(String(value), "yellow");
    else if (Array.isArray(value)) {
      this.#all("[", value as readonly Json[], "]", indent, (each, inner) => this.#value(each, inner));
    } else if (typeof value === "object" && value !== null) {
      const entries = Object.entries(value as JsonMap).filter((entry): entry is [string, Json] => {
        return entry[1] !== undefined;
      });
      this.#all("{", entries, "}", indent, ([key, each], inner) => {
        this.#put(quoted(key), "blue");
        this.#put(this.#indent === "" ? ":" : ": ");
        this.#value(each, inner);
      });
    } else this.#put(Object.is(value, -0) ? "-0" : JSON.stringify(value), "yellow");
  }

  #all<T>(
    open: string,
    items: readonly T[],
    close: string,
    indent: string,
    write: (item: T, indent: string) => void,
  ): void {
    this.#put(open);
    const inner = indent + this.#indent;
    for (const [index, item] of items.entries()) {
      if (index > 0) this.#put(",");
      this.#break(inner);
      write(item, inner);
    }
    if (items.length > 0) this.#break(indent);
    this.#put(close);
  }
}

function quoted(text: string): string {
  return escaped(JSON.stringify(text));
}
