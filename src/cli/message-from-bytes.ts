import type { DescMessage, Message } from "@bufbuild/protobuf";
import { decode } from "../codec/codec.js";
import { TtrpcError } from "../error.js";
import { problemOf } from "./output/raw.js";

/** Decodes a message as calls do, which is stricter than protobuf-es. Throws an Error that says what is wrong. */
export function messageFromBytes(desc: DescMessage, bytes: Uint8Array): Message {
  try {
    return decode(desc, bytes);
  } catch (error) {
    const text = error instanceof TtrpcError ? error.rawMessage : problemOf(error);
    // The caller's text names the type.
    throw new Error(text.replace(`cannot decode ${desc.typeName}: `, ""), { cause: error });
  }
}
