/**
 * Compares the codec with protobuf-es on random values, wrong values and broken bytes until the time is up:
 * `npm run fuzz:codec -- --seconds 600 --seed 1`. Each mismatch is printed with the seed that reproduces it. Without
 * addons, Node gives `#protobuf` the module that imports protobuf-es: with tsx, a required copy would be another one.
 */

import { parseArgs } from "node:util";
import {
  expectSameReading,
  expectSameRefusal,
  expectSameBytes,
  mutate,
  note,
  randomWrong,
} from "./agreement.js";
import { Random, randomInit } from "./random.js";
import { allMessages } from "./types.js";

const { values } = parseArgs({
  options: { seconds: { type: "string", default: "60" }, seed: { type: "string" } },
});
const seconds = Number(values.seconds);
const first = Number(values.seed ?? Date.now() % 2 ** 31);

const messages = await allMessages();
messages.forEach(note);
const counts = { values: 0, mutations: 0, refusals: 0, mismatches: 0 };
const until = performance.now() + seconds * 1000;
let seed = first;
for (; performance.now() < until && counts.mismatches < 20; seed++) {
  const random = new Random(seed);
  const desc = random.pick(messages);
  try {
    const bytes = expectSameBytes(desc, randomInit(random, desc));
    counts.values++;
    for (let count = 0; count < 10; count++) {
      expectSameReading(desc, mutate(random, bytes.length > 2000 ? bytes.subarray(0, 2000) : bytes));
      counts.mutations++;
    }
    for (let count = 0; count < 2; count++) {
      expectSameRefusal(desc, randomWrong(random, desc));
      counts.refusals++;
    }
  } catch (error) {
    counts.mismatches++;
    console.error(`seed ${seed}:`, error instanceof Error ? error.message.slice(0, 3000) : error);
  }
}
console.log(`${messages.length} types, seeds ${first} to ${seed - 1}:`, counts);
process.exitCode = counts.mismatches === 0 ? 0 : 1;
