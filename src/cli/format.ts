import { type DescMethod, fromBinary, type JsonValue, type Registry, toBinary } from "@bufbuild/protobuf";
import { Code, type MethodKind, TtrpcError } from "../index.js";
import { UsageError } from "./errors.js";
import { messageFromJson, messageToJson } from "./json.js";
import { splitRoute } from "./schema/schema.js";

/** How the messages of a method are read from lines and written to lines. */
export interface Format {
  readonly service: string;
  readonly method: string;
  readonly kind: MethodKind;
  readonly what: string;
  encode(text: string): Uint8Array;
  decode(bytes: Uint8Array): JsonValue | string;
}

/** Messages of a method as JSON. */
export function formatOf(
  { parent, name, methodKind, input, output }: DescMethod,
  registry: Registry,
): Format {
  return {
    service: parent.typeName,
    method: name,
    kind: methodKind,
    what: `a ${input.typeName}`,
    encode: (text) => {
      const json = text.trim() === "" ? {} : (JSON.parse(text) as JsonValue);
      return toBinary(input, messageFromJson(input, json, registry));
    },
    decode(bytes) {
      try {
        return messageToJson(output, fromBinary(output, bytes), registry);
      } catch (cause) {
        const text = `the reply is not a ${output.typeName}: ${(cause as Error).message}`;
        throw new TtrpcError(text, Code.Internal, { cause });
      }
    },
  };
}

/** Messages as hexadecimal, of a method that need not be known. */
export function rawFormat(route: string, kind: MethodKind = "unary"): Format {
  return {
    ...splitRoute(route),
    kind,
    what: "a message in hexadecimal",
    encode: (text) => {
      const digits = text.replaceAll(/\s/g, "");
      if (!/^([\da-f]{2})*$/i.test(digits))
        throw new Error("it must be pairs of the digits 0 to 9 and a to f");
      return Buffer.from(digits, "hex");
    },
    decode: (bytes) => Buffer.from(bytes).toString("hex"),
  };
}

/** The bytes of a message that the user gave; `where` is where. */
export function encoded(format: Format, text: string, where: string): Uint8Array {
  try {
    return format.encode(text);
  } catch (error) {
    throw new UsageError(
      `${where} is not ${format.what}: ${(error as Error).message}`,
      `\`shimctl describe ${format.service}/${format.method}\``,
    );
  }
}
