import { expect, test } from "vitest";
import { checkPlacement } from "../../src/shim/options.js";

test.each([
  undefined,
  { group: "pod" },
  { address: "unix:///run/s" },
  { group: "", address: "unix:///run/s" },
])("start may resolve to %j", (placement) => expect(checkPlacement(placement)).toBe(placement));

test.each([
  [{ group: "" }, 'group must be a non-empty string, not ""'],
  [{ group: 5 }, "group must be a non-empty string, not 5"],
  [{ address: "/run/s" }, "address must be one such as unix:///run/shim.sock, not /run/s"],
  [{}, "start must resolve to { group }, { address } or undefined, not object"],
  ["pod", "start must resolve to { group }, { address } or undefined, not string"],
  [null, "start must resolve to { group }, { address } or undefined, not null"],
])("start that resolves to %j fails with the reason", (placement, reason) => {
  expect(() => checkPlacement(placement)).toThrow(new TypeError(reason));
});
