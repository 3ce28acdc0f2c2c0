import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { addonFile } from "../../src/native/load.js";

test("a panic in a call into the addon is an exception, and the process lives on", () => {
  // The package never passes this number, with which Rust's own type for descriptors panics.
  const script = `
    const addon = require(process.argv[1]);
    const panics = [() => addon.closeDescriptor(-1), () => new addon.BindingPump(() => {}).reserve(-1)];
    for (const panic of panics) {
      try {
        panic();
      } catch ({ message }) {
        console.log(message);
      }
    }
  `;
  const { stdout, status } = spawnSync(process.execPath, ["-e", script, addonFile()], { encoding: "utf8" });
  expect({ stdout, status }).toEqual({ stdout: "fd != -1\nfd != -1\n", status: 0 });
});

test("every function of the addon catches panics", () => {
  const folder = fileURLToPath(new URL("../../crate/bridge", import.meta.url));
  const sources = readdirSync(folder).map((file) => readFileSync(join(folder, file), "utf8"));
  const attributes = sources.flatMap((source) =>
    [...source.matchAll(/#\[napi(.*)\]\n\s*pub fn/g)].map(([, options]) => options ?? ""),
  );
  expect(attributes.length).toBeGreaterThan(50);
  expect(attributes.filter((options) => !options.includes("catch_unwind"))).toEqual([]);
});
