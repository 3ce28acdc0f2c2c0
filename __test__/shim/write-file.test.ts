import { lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { writeWhole } from "../../src/shim/write-file.js";
import { temporaryPath } from "../helpers/temp.js";

test("a file is written as a new one, whatever link or remains are in its place", () => {
  const folder = temporaryPath();
  mkdirSync(folder);
  const [victim, file] = [join(folder, "victim"), join(folder, "address")];
  writeFileSync(victim, "untouched");
  symlinkSync(victim, `${file}.tmp`);
  writeWhole(file, "unix:///s", { mode: 0o600 });
  expect(readFileSync(victim, "utf8")).toBe("untouched");
  expect(lstatSync(file).mode & 0o170777).toBe(0o100600);
  writeFileSync(`${file}.tmp`, "a half", { mode: 0o666 });
  writeWhole(file, "unix:///t", { mode: 0o600 });
  expect(readFileSync(file, "utf8")).toBe("unix:///t");
  expect(lstatSync(file).mode & 0o777).toBe(0o600);
});

test("a file may be written by its owner alone, whatever the umask", () => {
  const before = process.umask(0);
  onTestFinished(() => void process.umask(before));
  const file = temporaryPath();
  writeWhole(file, "unix:///s");
  expect(lstatSync(file).mode & 0o777).toBe(0o644);
});

test("a file that could not be written leaves nothing beside it, and the error names it", () => {
  const folder = temporaryPath();
  mkdirSync(join(folder, "address", "full"), { recursive: true });
  expect(() => writeWhole(join(folder, "address"), "unix:///s")).toThrow(join(folder, "address"));
  expect(readdirSync(folder)).toEqual(["address"]);
});
