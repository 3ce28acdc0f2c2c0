import type { JsonValue } from "@bufbuild/protobuf";
import { onTerminal, styled } from "./stdout.js";

/** JSON in one line, for scripts and streams. */
export function jsonLine(value: JsonValue): string {
  return coloured(JSON.stringify(value));
}

/** JSON for whoever reads it: on a terminal with a line for each field, otherwise in one line. */
export function jsonText(value: JsonValue): string {
  return onTerminal() ? coloured(JSON.stringify(value, null, 2)) : jsonLine(value);
}

/** A string with the colon behind it if it is a key, a number or a word. */
const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|-?\d[\d.eE+-]*|true|false|null/g;

function coloured(text: string): string {
  return text.replace(TOKEN, (token, quoted?: string, colon?: string) => {
    if (quoted === undefined) return styled("yellow", token);
    return colon === undefined ? styled("green", quoted) : styled("blue", quoted) + colon;
  });
}
