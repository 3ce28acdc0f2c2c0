import { escaped } from "../../escaped.js";
import { columnsOf, fitting } from "./columns.js";

/** A part of a line. A string may come from a peer, so it is escaped; see {@link Text}. */
export type Part = string | number | Text;

const ESCAPE = "\u001b";
/** The escape sequence of a style; in parentheses, so that `split` keeps it. */
const STYLE = new RegExp(`(${ESCAPE}\\[[\\d;]*m)`);

/**
 * A line, or a part of one, that is safe for a terminal: its only control characters are those of shimctl's own styles.
 * Whatever is printed is either of this class or a string that is escaped first, so a peer's text can neither control the
 * terminal nor look like a line of its own.
 */
export class Text {
  readonly #rendered: string;
  /** The columns that it takes on a terminal. */
  readonly length: number;

  private constructor(rendered: string, length: number) {
    this.#rendered = rendered;
    this.length = length;
  }

  /** Escapes the control characters of a string; a Text stays as it is. */
  static of(part: Part): Text {
    if (part instanceof Text) return part;
    const rendered = escaped(String(part));
    return new Text(rendered, columnsOf(rendered));
  }

  /**
   * A text with escape sequences around it, or between its characters.
   *
   * @param paint - Adds escape sequences of styles, and nothing else, to a text without control characters.
   */
  static painted(part: Part, paint: (plain: string) => string): Text {
    const { rendered, length } = Text.of(part);
    return new Text(paint(rendered), length);
  }

  /** For shimctl's own words, and for what is escaped already, as JSON is. */
  static trusted(rendered: string, length: number): Text {
    return new Text(rendered, length);
  }

  /** Texts one after the other. */
  static joined(parts: readonly Part[], separator: Part = ""): Text {
    const between = Text.of(separator);
    let [rendered, length] = ["", 0];
    for (const [index, part] of parts.entries()) {
      const each = Text.of(part);
      rendered += (index === 0 ? "" : between.rendered) + each.rendered;
      length += (index === 0 ? 0 : between.length) + each.length;
    }
    return new Text(rendered, length);
  }

  /** The characters that go to the terminal. */
  get rendered(): string {
    return this.#rendered;
  }

  /** The part that fits into `columns`, with all its styles. */
  cut(columns: number): Text {
    if (this.length <= columns) return this;
    let [room, taken, result] = [columns, 0, ""];
    for (const part of this.#rendered.split(STYLE)) {
      if (STYLE.test(part)) result += part;
      else {
        const shown = fitting(part, room);
        taken += columnsOf(shown);
        // What follows a character that has no room would not stand where it belongs.
        room = shown === part ? columns - taken : 0;
        result += shown;
      }
    }
    return new Text(result, taken);
  }

  toString(): string {
    return this.#rendered;
  }
}

/** A text of shimctl's own words and of parts from anywhere, which are escaped. */
export function text(words: TemplateStringsArray, ...parts: Part[]): Text {
  const own = words.map((word) => Text.trusted(word, columnsOf(word)));
  return Text.joined(own.flatMap((word, index) => (index === 0 ? [word] : [parts[index - 1]!, word])));
}
