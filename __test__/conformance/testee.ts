/**
 * The program under test of protobuf's conformance runner. It reads requests from standard input, each after its length in
 * four bytes, and writes responses in the same form. Binary messages go through the reader and the writer that calls use;
 * JSON is protobuf-es's. With `--compiled`, messages must be compiled, and without it they must not be. With `--wrong`,
 * every response is wrong.
 */

import { readSync, writeSync } from "node:fs";
import {
  create,
  type DescMessage,
  fromBinary,
  fromJsonString,
  type Message,
  toBinary,
  toJsonString,
} from "@bufbuild/protobuf";
import { decodeFrom, encodeInto } from "../../src/codec/codec.js";
import { compiles } from "../../src/codec/compiled.js";
import { conformanceRegistry } from "./messages.js";

/** A request, by its descriptor. */
interface Request {
  readonly payload: { readonly case?: string; readonly value?: unknown };
  readonly requestedOutputFormat: number;
  readonly messageType: string;
  readonly testCategory: number;
}

const PROTOBUF = 1;
const JSON_OUT = 2;
const IGNORE_UNKNOWN = 3;

/** The buffer where messages are written and read, as in a batch. */
const PLACE = 64;
const batch = new Uint8Array(8 << 20);

const registry = conformanceRegistry();
const requests = typeOf("conformance.ConformanceRequest");
const responses = typeOf("conformance.ConformanceResponse");

const isWrong = process.argv.includes("--wrong");
if (!isWrong && process.argv.includes("--compiled") !== compiles)
  throw new Error(`messages are ${compiles ? "" : "not "}compiled`);
if (compiles && !isWrong) useOften();

for (;;) {
  const length = read(4);
  if (length === undefined) break;
  const request = read(length.readUInt32LE());
  if (request === undefined) throw new Error("a request is missing");
  const asked = fromBinary(requests, request) as unknown as Request;
  const response = answer(asked);
  const bytes = toBinary(responses, create(responses, { result: response } as never));
  const prefix = Buffer.alloc(4);
  prefix.writeUInt32LE(bytes.length);
  write(Buffer.concat([prefix, bytes]));
}

/** Makes all types compiled, which happens after some uses. */
function useOften(): void {
  for (const desc of registry) {
    if (desc.kind !== "message") continue;
    for (let count = 0; count < 600; count++) {
      decodeFrom(desc, batch, 0, 0);
      try {
        encodeInto(desc, create(desc), batch, 0);
      } catch {
        // A required field is not set.
      }
    }
  }
}

function answer(request: Request): { case: string; value: unknown } {
  const { payload, requestedOutputFormat } = request;
  if (isWrong && requestedOutputFormat === PROTOBUF)
    return { case: "protobufPayload", value: Uint8Array.of(0xff) };
  if (isWrong && requestedOutputFormat === JSON_OUT) return { case: "jsonPayload", value: "{" };
  const desc = typeOf(request.messageType);
  let message: Message;
  try {
    if (payload.case === "protobufPayload") message = fromBatch(desc, payload.value as Uint8Array);
    else if (payload.case === "jsonPayload")
      message = fromJsonString(desc, payload.value as string, {
        registry,
        ignoreUnknownFields: request.testCategory === IGNORE_UNKNOWN,
      });
    else return { case: "skipped", value: `there is no ${payload.case} here` };
  } catch (error) {
    return { case: "parseError", value: String(error) };
  }
  try {
    if (requestedOutputFormat === PROTOBUF) return { case: "protobufPayload", value: toBatch(desc, message) };
    if (requestedOutputFormat === JSON_OUT)
      return { case: "jsonPayload", value: toJsonString(desc, message, { registry }) };
    return { case: "skipped", value: `there is no format ${requestedOutputFormat} here` };
  } catch (error) {
    return { case: "serializeError", value: String(error) };
  }
}

function fromBatch(desc: DescMessage, bytes: Uint8Array): Message {
  batch.set(bytes, PLACE);
  const message = decodeFrom(desc, batch, PLACE, PLACE + bytes.length);
  // A message must own what it keeps.
  batch.fill(0xff, PLACE, PLACE + bytes.length);
  return message;
}

function toBatch(desc: DescMessage, message: Message): Uint8Array {
  const end = encodeInto(desc, message, batch, PLACE);
  if (end < 0) throw new Error("there was no room");
  return batch.slice(PLACE, end);
}

function typeOf(name: string): DescMessage {
  const desc = registry.getMessage(name);
  if (desc === undefined) throw new Error(`there is no message ${name}`);
  return desc;
}

/** Reads `length` bytes; undefined if the input has ended. */
function read(length: number): Buffer | undefined {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length;) {
    const count = readSync(0, bytes, at, length - at, null);
    if (count === 0) {
      if (at > 0) throw new Error("the input ended in a request");
      return undefined;
    }
    at += count;
  }
  return bytes;
}

function write(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += writeSync(1, bytes, at);
}
