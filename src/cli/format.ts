import { type DescMethod, type Registry, toBinary } from "@bufbuild/protobuf";
import type { MethodKind } from "../index.js";
import { UsageError } from "./errors.js";
import { messageToJson } from "./message-to-json.js";
import { messageFromBytes } from "./message-from-bytes.js";
import { messageFromJson } from "./message-from-json.js";
import { isObject, type Json, parseJson } from "./json-value.js";
import { jsonLine, jsonText } from "./output/json.js";
import { problemOf } from "./output/raw.js";
import type { Part } from "./output/text.js";
import { splitRoute } from "./schema/schema.js";

/** How the messages of a method are read from lines and written to lines. */
export interface Format {
  readonly service: string;
  readonly method: string;
  readonly kind: MethodKind;
  readonly what: string;
  encode(text: string): Uint8Array;
  /** A message in one line. Throws if the bytes are not one. */
  line(bytes: Uint8Array): Part;
  /** A message that is printed by itself, possibly on several lines. */
  lines(bytes: Uint8Array): Part[];
}

/** How the messages of a method are read and shown. */
export interface FormatOptions {
  readonly registry: Registry;
  readonly emitDefaults?: boolean;
  /** Whether a message that stands by itself is one line, even on a terminal. */
  readonly json?: boolean;
  /** The container that the user named: the id of requests that have none. */
  readonly id?: string;
}

/** Messages of a method as JSON. */
export function formatOf(
  { parent, name, methodKind, input, output }: DescMethod,
  options: FormatOptions,
): Format {
  const { registry, id } = options;
  const takesId = id !== undefined && isTask(parent.typeName) && input.field["id"] !== undefined;
  return {
    service: parent.typeName,
    method: name,
    kind: methodKind,
    what: `a ${input.typeName}`,
    encode: (text) => {
      const json = text.trim() === "" ? {} : parseJson(text);
      const named = takesId && isObject(json) && json["id"] === undefined ? { id, ...json } : json;
      return toBinary(input, messageFromJson(input, named, registry));
    },
    line: (bytes) => jsonLine(decode(bytes)),
    lines: (bytes) => (options.json ? [jsonLine(decode(bytes))] : jsonText(decode(bytes))),
  };

  function decode(bytes: Uint8Array): Json {
    try {
      return messageToJson(output, messageFromBytes(output, bytes), options);
    } catch (error) {
      throw new Error(`the reply is not a ${output.typeName}: ${problemOf(error)}`, { cause: error });
    }
  }
}

function isTask(service: string): boolean {
  return /^containerd\.task\.v\d+\.Task$/.test(service);
}

/** Messages as hexadecimal, of any method, known or not. */
export function rawFormat(route: string, kind: MethodKind = "unary"): Format {
  return {
    ...splitRoute(route),
    kind,
    what: "a message in hexadecimal",
    encode: (text) => {
      const digits = text.replaceAll(/\s/g, "");
      // An expression for all pairs would take a stack that grows with their number.
      if (digits.length % 2 !== 0 || /[^\da-f]/i.test(digits))
        throw new Error("it must be pairs of hexadecimal digits");
      return Buffer.from(digits, "hex");
    },
    line: hex,
    lines: (bytes) => [hex(bytes)],
  };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

/** Encodes a message that the user gave. Throws a UsageError; `where` names the place in its text. */
export function encoded(format: Format, text: string, where: string): Uint8Array {
  try {
    return format.encode(text);
  } catch (error) {
    throw new UsageError(
      `${where} is not ${format.what}: ${problemOf(error)}`,
      `\`shimctl describe ${format.service}/${format.method}\``,
    );
  }
}
