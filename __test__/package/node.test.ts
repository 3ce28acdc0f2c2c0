import { execFileSync, spawnSync } from "node:child_process";
import { expect, test } from "vitest";

const VERSION = process.env["TEST_NODE"] ?? process.version;

test("the tests and everything that they start run on the requested Node", () => {
  const print = ["-p", "process.version"];
  expect(process.version).toBe(VERSION);
  expect(spawnSync(process.execPath, print, { encoding: "utf8" }).stdout.trim()).toBe(VERSION);
  expect(execFileSync("node", print, { encoding: "utf8" }).trim()).toBe(VERSION);
  expect(spawnSync("/bin/sh", ["-c", "node -p process.version"], { encoding: "utf8" }).stdout.trim()).toBe(
    VERSION,
  );
});
