import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { packAny } from "containerd-shim-protos";
import { OptionsSchema } from "containerd-shim-protos/runc";
import { supportsIdMapping } from "containerd-shim-protos/shim/mount";
import { RuntimeInfoSchema } from "containerd-shim-protos/types";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RUNC } from "./shims.js";

/** Commands that run a program without the capabilities of root. */
const POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];

const needed = [
  ...((await supportsIdMapping("/")) ? [] : ["root and Linux 5.19"]),
  ...(spawnSync("setpriv", ["--version"]).status === 0 ? [] : ["setpriv"]),
];
const note = needed.length > 0 ? ` (skipped: needs ${needed.join(", ")})` : "";

describe.skipIf(note !== "")(`what examples/shim-runc says of itself${note}`, () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "info-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  /** The features that the shim tells of, of a runc that says this of itself. */
  function told(said: string, before: readonly string[] = []): string | undefined {
    const binaryName = join(folder, "runc");
    writeFileSync(binaryName, `#!/bin/sh\necho '${said}'\n`, { mode: 0o755 });
    const options = packAny(OptionsSchema, { binaryName });
    const [command = "", ...args] = [...before, RUNC.runtime, "-info"];
    const input = toBinary(AnySchema, create(AnySchema, options));
    const { stdout, stderr } = spawnSync(command, args, { input });
    expect(stderr.toString()).toBe("");
    const value = fromBinary(RuntimeInfoSchema, stdout).features?.value;
    return value && Buffer.from(value).toString();
  }

  const features = (enabled: boolean) =>
    JSON.stringify({ ociVersionMin: "1.0.0", linux: { mountExtensions: { idmap: { enabled } } } });

  test("passes on what runc says, where the kernel maps ids", () => {
    expect(told(features(true))?.trim()).toBe(features(true));
    expect(told(features(false))?.trim()).toBe(features(false));
  });

  test("says no of pods in user namespaces where their root filesystems cannot be mounted", () => {
    expect(told(features(true), POWERLESS)).toBe(features(false));
  });

  test("says nothing where runc does not", () => {
    expect(told("Incorrect Usage")).toBeUndefined();
    expect(told("{}")?.trim()).toBe("{}");
  });
});
