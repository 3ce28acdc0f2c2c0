import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { Code } from "../code.js";
import { textOf, TtrpcError } from "../error.js";
import { validate } from "./validate.js";

/**
 * Encodes a plain object or a message. Throws a TypeError that names the field that is wrong.
 */
export function encode<Desc extends DescMessage>(desc: Desc, message: MessageInitShape<Desc>): Uint8Array {
  validate(desc, message);
  try {
    return toBinary(desc, create(desc, message));
  } catch (cause) {
    // What validation lets through and protobuf-es refuses: a required field of proto2 that is not set.
    throw new TypeError(`cannot encode ${desc.typeName}: ${textOf(cause)}`, { cause });
  }
}

/** Decodes a message from bytes that are its own to keep. Throws a TtrpcError with code `Internal`. */
export function decode<Desc extends DescMessage>(desc: Desc, bytes: Uint8Array): MessageShape<Desc> {
  try {
    return fromBinary(desc, bytes);
  } catch (cause) {
    throw new TtrpcError(`cannot decode ${desc.typeName}: ${textOf(cause)}`, Code.Internal, {
      cause,
    });
  }
}
