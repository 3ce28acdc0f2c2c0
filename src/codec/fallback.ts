import {
  create,
  type DescField,
  type DescMessage,
  fromBinary,
  isMessage,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { Code } from "../code.js";
import { textOf, TtrpcError } from "../error.js";
import { representation } from "./json.js";
import { setEntry } from "./read.js";
import { validate } from "./validate.js";

/**
 * The codec that protobuf-es is. It has the last word: what the compiled one does not handle comes here, and is done, or
 * refused with what is wrong.
 */

/** Encodes a plain object or a message. Throws a TypeError that names the field that is wrong. */
export function slowEncode<Desc extends DescMessage>(
  desc: Desc,
  message: MessageInitShape<Desc>,
): Uint8Array {
  validate(desc, message);
  try {
    return toBinary(desc, complete(desc, message));
  } catch (cause) {
    // What validation lets through and protobuf-es refuses: a required field of proto2 that is not set.
    throw new TypeError(`cannot encode ${desc.typeName}: ${textOf(cause)}`, { cause });
  }
}

/** Decodes a message. Fields of bytes are views of `bytes`. Throws a TtrpcError with code `Internal`. */
export function slowDecode<Desc extends DescMessage>(desc: Desc, bytes: Uint8Array): MessageShape<Desc> {
  try {
    return fromBinary(desc, bytes);
  } catch (cause) {
    throw new TtrpcError(`cannot decode ${desc.typeName}: ${textOf(cause)}`, Code.Internal, {
      cause,
    });
  }
}

type Fields = Record<string, unknown>;

/**
 * The message of a value that is valid. Other than create(), it takes a message that lacks a field for one where that is
 * not set, as in `{ ...message, stdin: undefined }`; toBinary would write the text "undefined".
 */
function complete<Desc extends DescMessage>(desc: Desc, init: unknown): MessageShape<Desc> {
  const message = create(desc);
  const to = message as unknown as Fields;
  const from = init as Fields;
  const isWhole = isMessage(init);
  for (const member of desc.members) {
    const name = member.localName;
    const value = from[name];
    // A message inherits the defaults of what is not set, and every object names like "hasOwnProperty".
    const inherits = isWhole || name in Object.prototype;
    if (value === undefined || (inherits && !Object.hasOwn(from, name))) continue;
    if (member.kind === "field") to[name] = completeField(member, value);
    else {
      const { case: chosen, value: content } = value as { case?: string; value?: unknown };
      const field = member.fields.find(({ localName }) => localName === chosen);
      if (field !== undefined) to[name] = { case: chosen, value: completeElement(field, content) };
    }
  }
  if (isWhole && from["$unknown"] !== undefined) to["$unknown"] = from["$unknown"];
  return message;
}

function completeField(field: DescField, value: unknown): unknown {
  if (field.fieldKind === "list") return (value as unknown[]).map((item) => completeElement(field, item));
  if (field.fieldKind !== "map") return completeElement(field, value);
  const entries: Fields = {};
  for (const [key, item] of Object.entries(value as Fields)) {
    setEntry(entries, key, completeElement(field, item));
  }
  return entries;
}

function completeElement(field: DescField, value: unknown): unknown {
  const { message } = field;
  if (message === undefined || representation(field, message) !== "message") return value;
  return complete(message, value);
}
