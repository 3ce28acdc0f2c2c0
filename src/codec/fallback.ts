import type { DescField, DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { protobufEs } from "#protobuf";
import { refusal, refusedBelow, textOf } from "../error.js";
import { representation } from "./json.js";
import { setEntry } from "./read.js";
import { validate } from "./validate.js";

/**
 * The encoder that uses protobuf-es. It has the last word: it writes what the others do not, or reports what is wrong.
 */

/** Encodes a plain object or a message. Throws a TypeError that names the wrong field. */
export function slowEncode<Desc extends DescMessage>(
  desc: Desc,
  message: MessageInitShape<Desc>,
): Uint8Array {
  validate(desc, message);
  const { toBinary } = protobufEs();
  const whole = complete(desc, message);
  // An accessor may have given another value this time.
  validate(desc, whole);
  try {
    return toBinary(desc, whole);
  } catch (cause) {
    // Validation accepts a proto2 message without a required field; protobuf-es refuses it.
    throw refusedBelow(refusal(`cannot encode ${desc.typeName}: ${textOf(cause)}`, { cause }), slowEncode);
  }
}

type Fields = Record<string, unknown>;

/**
 * Makes a message of a valid value. Unlike create(), it also completes a message in which a field is undefined, as in
 * `{ ...message, stdin: undefined }`, for which toBinary would write the text "undefined".
 */
function complete<Desc extends DescMessage>(desc: Desc, init: unknown): MessageShape<Desc> {
  const { create, isMessage } = protobufEs();
  const message = create(desc);
  const to = message as unknown as Fields;
  const from = init as Fields;
  const isWhole = isMessage(init);
  for (const member of desc.members) {
    const name = member.localName;
    const value = from[name];
    // A message inherits the defaults of unset fields, and every object inherits names such as "hasOwnProperty".
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
