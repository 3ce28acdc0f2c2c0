import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { listenEvents, subscribeEvents } from "containerd-shim-protos/events";
import { expect, test } from "vitest";
import { topicFault, topicPrefixFault } from "../../src/events/event.js";
import { temporaryAddress } from "../helpers/temp.js";

/** A topic that containerd accepts, as long as an event may be. */
const longTopic = (first: string) => `/${first}${`/${"a".repeat(75)}`.repeat(50_000)}`;

test("a topic of any length is checked in one pass, and a fault names its beginning", () => {
  expect(topicFault(longTopic("a"))).toBeUndefined();
  const fault = topicFault(`${longTopic("a")}/`);
  expect(fault).toMatch(/^a part of the topic "\/a\/aaa.*…" must not be empty$/);
  expect(fault?.length).toBeLessThan(200);
});

test("long topics that had no fault are not kept", () => {
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc") as () => void;
  gc();
  const before = process.memoryUsage().heapUsed;
  // A Buffer's text is flat, as a topic that has arrived.
  for (let index = 0; index < 8; index++) topicFault(Buffer.from(longTopic(`t${index}`)).toString());
  gc();
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(10 << 20);
});

test("topics may be selected by what a topic can begin with, and by nothing else", () => {
  for (let code = 0x20; code < 0x100; code++) {
    const prefix = `/tasks${String.fromCharCode(code)}`;
    const begins = topicFault(`${prefix}exit`) === undefined;
    expect(topicPrefixFault(prefix) === undefined, prefix).toBe(begins);
  }
});

test.each(["", "tasks", "/tasks/*", "/tasks/|/images/"])(
  "a prefix that no topic has is refused alike wherever events come from: %j",
  (prefix) => {
    const options = { topics: ["/tasks/", prefix] };
    const reason = `topics[1]: ${topicPrefixFault(prefix)}`;
    expect(() => listenEvents(temporaryAddress(), options)).toThrow(new TypeError(reason));
    expect(() => subscribeEvents("/no/such.sock", options)).toThrow(new TypeError(reason));
  },
);
