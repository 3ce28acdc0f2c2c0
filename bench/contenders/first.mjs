/**
 * Prints how many microseconds the first message of a type takes in a new process: `node first.mjs LIBRARY
 * encode|decode DESCRIPTORS TYPE HEX`. It is plain JavaScript, so that both libraries run as they are installed.
 */

import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { decodeFrom, encodeInto } from "../../dist/codec/codec.js";

const [library, what, descriptors, type, hex] = process.argv.slice(2);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)));
const desc = registry.getMessage(type);
const bytes = Uint8Array.from(Buffer.from(hex, "hex"));
const batch = new Uint8Array(5 << 20);
// It has the shape of one that create() made.
const message = what === "encode" ? fromBinary(desc, bytes) : undefined;
const runs = {
  this: {
    encode: () => encodeInto(desc, message, batch, 64),
    decode: () => decodeFrom(desc, bytes, 0, bytes.length),
  },
  "protobuf-es": { encode: () => toBinary(desc, message), decode: () => fromBinary(desc, bytes) },
};
const run = runs[library][what];
const start = performance.now();
run();
console.log((performance.now() - start) * 1000);
