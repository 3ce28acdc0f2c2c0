import { expect, test } from "vitest";
import { listenToAbort, unlistenToAbort } from "../../src/abort.js";
import { watchUncaught } from "../helpers/uncaught.js";

const uncaught = watchUncaught();

test("each listener gets the abort, whichever of them throw, and the process gets what they threw", async () => {
  const abort = new AbortController();
  const heard: number[] = [];
  const listeners = Array.from({ length: 100 }, (_, index) => ({
    aborted() {
      heard.push(index);
      if (index % 10 === 0) throw new Error(`listener ${index}`);
    },
  }));
  for (const listener of listeners) listenToAbort(abort.signal, listener);
  unlistenToAbort(abort.signal, listeners[99]!);
  abort.abort();
  expect(heard).toEqual(Array.from({ length: 99 }, (_, index) => index));
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
  expect(uncaught.splice(0).map(String)).toEqual(
    Array.from({ length: 10 }, (_, index) => `Error: listener ${index * 10}`),
  );
});

test("a signal that has aborted before is not listened to", async () => {
  const heard: AbortSignal[] = [];
  listenToAbort(AbortSignal.abort(), { aborted: (signal) => heard.push(signal) });
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
  expect(heard).toEqual([]);
});
