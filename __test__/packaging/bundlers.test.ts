import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { Consumer, run, type Runtime } from "./consumer.js";
import { Registry } from "./registry.js";
import { NAME, tarballOf } from "./release.js";

const TOOLS = [
  "webpack@5.113.0",
  "esbuild@0.28.2",
  "rollup@4.68.8",
  "@rollup/plugin-node-resolve@16.0.3",
  "@rspack/core@2.3.3",
  "@vercel/ncc@0.45.0",
  "postject@1.0.0-alpha.6",
];

const BUNDLES = ["webpack", "esbuild", "rollup", "rspack", "ncc"].flatMap((tool) => [
  [tool, "esm"] as const,
  [tool, "cjs"] as const,
]);

const ADDON = `${NAME}-linux-x64-gnu`;

const CALLED = { status: 0, stdout: "called 7\n", stderr: "" };

/** The fuse that postject looks for in a Node. All Nodes have it. */
const FUSE = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2";

const runtimes = inject("runtimes").filter(({ platform }) => platform === "linux-x64-gnu");

let registry: Registry;
let consumer: Consumer;
/** The folder to which bundles are copied. It and its parents have nothing else but the addon's package. */
let deployed: string;
/** A folder with nothing but a bundle. */
let alone: string;

beforeAll(async () => {
  // The bundlers run on the newest Node, whatever Node their output runs on.
  const newest = runtimes.at(-1);
  if (newest === undefined) throw new Error("there is no Node");
  registry = await Registry.start(inject("upstream"));
  consumer = new Consumer(newest);
  const files = [NAME, ADDON].map(tarballOf);
  // esbuild's script only checks what npm installed, and there is no shell on PATH.
  await consumer.npm("install", "--ignore-scripts", ...files, ...TOOLS, ...registry.options);
  consumer.add("bundlers", ".");
  deployed = join(consumer.folder, "deployed");
  alone = join(consumer.folder, "alone");
  mkdirSync(alone);
  cpSync(consumer.installed(ADDON), join(deployed, "node_modules", ADDON), { recursive: true });
});

afterAll(async () => {
  consumer?.[Symbol.dispose]();
  await registry?.[Symbol.asyncDispose]();
});

function start(runtime: Runtime, folder: string, args: readonly string[], env: Record<string, string> = {}) {
  return run(runtime.node, args, { cwd: folder, env: { PATH: "", ...env } });
}

describe.each(BUNDLES)("a bundle that %s made as %s", (tool, format) => {
  const name = `${tool}.${format === "esm" ? "mjs" : "cjs"}`;

  it("is made without warnings", async () => {
    const file = join(deployed, name);
    expect(await consumer.node(["build.mjs", tool, format, file])).toMatchObject({ status: 0, stderr: "" });
    cpSync(file, join(alone, name));
  });

  it.each(runtimes.map((runtime) => [runtime.version, runtime] as const))(
    "makes a call on Node %s, with the addon beside it in node_modules, or named by the variable",
    async (_, runtime) => {
      expect(await start(runtime, deployed, [name])).toEqual(CALLED);
      // The working directory must not matter.
      expect(await start(runtime, "/", [join(deployed, name)])).toEqual(CALLED);
      const path = consumer.installed(ADDON, `${NAME}.linux-x64-gnu.node`);
      expect(await start(runtime, alone, [name], { NAPI_RS_NATIVE_LIBRARY_PATH: path })).toEqual(CALLED);
    },
  );

  it("says where it looked if there is no addon", async () => {
    const ended = await start(runtimes[0]!, alone, [name]);
    expect(ended.status).not.toBe(0);
    expect(ended.stderr).toContain(`  ${ADDON}: not found`);
  });
});

describe.each(runtimes.map((runtime) => [runtime.version, runtime] as const))(
  "a single executable of Node %s",
  (version, runtime) => {
    it("makes a call, with the addon beside it in node_modules", async () => {
      const config = join(deployed, "sea.json");
      const blob = join(deployed, `${version}.blob`);
      const program = join(deployed, `program-${version}`);
      writeFileSync(
        config,
        JSON.stringify({
          main: join(deployed, "esbuild.cjs"),
          output: blob,
          disableExperimentalSEAWarning: true,
        }),
      );
      expect(await start(runtime, deployed, ["--experimental-sea-config", config])).toMatchObject({
        status: 0,
      });
      cpSync(runtime.node, program, { dereference: true });
      const postject = consumer.installed("postject", "dist", "cli.js");
      const args = [postject, program, "NODE_SEA_BLOB", blob, "--sentinel-fuse", FUSE];
      expect(await consumer.node(args)).toMatchObject({ status: 0 });
      expect(await run(program, [], { cwd: "/", env: { PATH: "" } })).toEqual(CALLED);
    });
  },
);
