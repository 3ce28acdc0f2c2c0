import { OutgoingMessage, type Payload } from "../codec/payload.js";
import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import { MESSAGE_LIMIT } from "./records.js";
import { stringSize } from "./writer.js";

/** The room that a payload surely needs. Throws if it is too large. */
export function knownSize(payload: Payload | undefined): number {
  if (payload === undefined || payload instanceof OutgoingMessage) return 0;
  if (payload.length > MESSAGE_LIMIT) throw oversize(payload.length);
  return payload.length;
}

/** A code that was changed to none after the error was made must not turn it into a success. */
export function codeOf({ code }: TtrpcError): number {
  return Number.isInteger(code) && (code | 0) === code && Number(code) !== 0 ? code : Code.Unknown;
}

/** The room that an error needs. */
export function errorSize({ message, details }: TtrpcError): number {
  return details.reduce(
    (size, { typeUrl, value }) => size + stringSize(typeUrl) + 4 + value.length,
    stringSize(message),
  );
}

/** The error of a message that is too large to be sent. */
export function oversize(size: number): TtrpcError {
  const text = `message length ${size} exceed maximum message size of ${MESSAGE_LIMIT}`;
  return new TtrpcError(text, Code.ResourceExhausted);
}
