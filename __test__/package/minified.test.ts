import { execFileSync } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { expect, it } from "vitest";
import { ROOT, temporaryFolder } from "../helpers/program.js";

it("names its classes in errors as the documentation does, in a bundle with short names too", async () => {
  const contents = `
    import { createClient } from "containerd-shim-protos";
    import { Task } from "containerd-shim-protos/task/v3";
    try {
      createClient(Task, {});
    } catch (error) {
      console.log(error.message);
    }`;
  const folder = temporaryFolder();
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: ROOT },
    bundle: true,
    minify: true,
    platform: "node",
    format: "esm",
    write: false,
    logLevel: "error",
  });
  const bundle = join(folder, "bundle.mjs");
  writeFileSync(bundle, outputFiles[0]?.text ?? "");
  const addon = join(ROOT, readdirSync(ROOT).find((file) => file.endsWith(".node")) ?? "");
  const env = { NAPI_RS_NATIVE_LIBRARY_PATH: addon, ...process.env };
  expect(execFileSync(process.execPath, [bundle], { encoding: "utf8", env })).toBe(
    "connection must be the Connection that connect() resolves to, not object\n",
  );
});
