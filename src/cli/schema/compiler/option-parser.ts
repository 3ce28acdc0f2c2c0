import type { DescMessage, Message } from "@bufbuild/protobuf";
import type { FieldDescriptorProto } from "@bufbuild/protobuf/wkt";
import type { Cursor } from "./cursor.js";
import type { DefaultUse, OptionPart, OptionUse } from "./parsed.js";
import type { Token } from "./tokens.js";

/** Reads options, which are set once all files are known. */
export class OptionParser {
  readonly uses: OptionUse[] = [];
  readonly defaults: DefaultUse[] = [];
  readonly #cursor: Cursor;

  constructor(cursor: Cursor) {
    this.#cursor = cursor;
  }

  /** Reads `option name = value;` if it is next. */
  statement(scope: string, schema: DescMessage, target: () => Message): boolean {
    const cursor = this.#cursor;
    if (!cursor.accept("option")) return false;
    this.#option(scope, schema, target);
    cursor.expect(";");
    return true;
  }

  /** Reads `[name = value, …]` if it is next. For a field, `default` and `json_name` are not options. */
  list(scope: string, schema: DescMessage, target: () => Message, field?: FieldDescriptorProto): void {
    const cursor = this.#cursor;
    if (!cursor.accept("[")) return;
    const seen = new Set<string>();
    do {
      const { text: name, at } = cursor.peek();
      if (field === undefined || !cursor.at("=", 1) || (name !== "default" && name !== "json_name")) {
        this.#option(scope, schema, target);
        continue;
      }
      if (seen.has(name)) throw cursor.source.error(at, `${name} is set twice`);
      seen.add(name);
      cursor.next();
      cursor.expect("=");
      if (name === "default") this.#default(field);
      else if (field.extendee !== "") throw cursor.source.error(at, "an extension has no json_name");
      else field.jsonName = cursor.string("json_name");
    } while (cursor.accept(","));
    cursor.expect("]");
  }

  #option(scope: string, schema: DescMessage, target: () => Message): void {
    const cursor = this.#cursor;
    const parts: OptionPart[] = [];
    do {
      const extension = cursor.accept("(");
      const { name, at } = extension
        ? cursor.reference("the name of an option")
        : { name: cursor.identifier("the name of an option").text, at: cursor.last.at };
      if (extension) cursor.expect(")");
      parts.push({ name, at, extension });
    } while (cursor.accept("."));
    cursor.expect("=");
    this.uses.push({ scope, parts, value: this.#value(), schema, target });
  }

  /** A value, in the text format of protobuf. */
  #value(): string {
    const cursor = this.#cursor;
    if (cursor.at("{")) return ` ${cursor.bracketed()}`;
    const { negative, tokens } = this.#words();
    return `: ${negative ? "-" : ""}${tokens.map(({ text }) => text).join(" ")}`;
  }

  #words(): { readonly at: number; readonly negative: boolean; readonly tokens: Token[] } {
    const cursor = this.#cursor;
    const { at } = cursor.peek();
    const negative = cursor.accept("-");
    if (!negative) cursor.accept("+");
    const first = cursor.peek();
    if (first.kind === "symbol" || first.kind === "end" || (negative && first.kind === "string")) {
      throw cursor.unexpected("a value");
    }
    const tokens = [cursor.next()];
    while (first.kind === "string" && cursor.peek().kind === "string") tokens.push(cursor.next());
    return { at, negative, tokens };
  }

  #default(field: FieldDescriptorProto): void {
    this.defaults.push({ field, ...this.#words() });
  }
}
