import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { expect, test } from "vitest";
import packageJson from "../../package.json" with { type: "json" };
import { ROOT } from "../helpers/program.js";

/** The entries that a program imports. */
const ENTRIES = Object.keys(packageJson.exports)
  .filter((name) => !name.endsWith(".json"))
  .map((name) => name.replace(".", "containerd-shim-protos"));

test("an import of the package leaves standard input as it is, for all who share it", async () => {
  const script = `
    import { readFileSync } from "node:fs";
    const flags = () => /flags:\\s*(\\d+)/.exec(readFileSync("/proc/self/fdinfo/0", "utf8"))[1];
    const before = flags();
    const changed = [];
    for (const entry of ${JSON.stringify(ENTRIES)}) {
      await import(entry);
      if (flags() !== before) changed.push(entry);
    }
    console.log(JSON.stringify(changed));`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], { cwd: ROOT });
  const [changed, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
  child.stdin.end();
  expect(errors).toBe("");
  expect(JSON.parse(changed)).toEqual([]);
});
