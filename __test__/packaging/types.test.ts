import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { Consumer, run, type Runtime } from "./consumer.js";
import { Registry } from "./registry.js";
import { NAME, ROOT, tarballOf } from "./release.js";

/** The TypeScript versions that must accept the types: the oldest, and every minor version after it. */
const VERSIONS = ["5.4", "5.5", "5.6", "5.7", "5.8", "5.9", "6.0", "latest"];

/** What fixtures/consumer prints when it succeeds. */
const PRINTED = "RUNNING web /tasks/exit 4 6\n";

/** The kinds of projects. All use the same source. */
const PROJECTS = {
  NodeNext: {
    source: "consumer.mts",
    compiled: "consumer.mjs",
    module: "nodenext",
    moduleResolution: "nodenext",
  },
  bundler: { source: "consumer.ts", compiled: "consumer.js", module: "esnext", moduleResolution: "bundler" },
  "require()": {
    source: "consumer.cts",
    compiled: "consumer.cjs",
    module: "nodenext",
    moduleResolution: "nodenext",
  },
} as const;

type Project = keyof typeof PROJECTS;

const MODULES = ["NodeNext", "bundler"] as const;

const SINCE_GENERIC_ARRAYS = VERSIONS.indexOf("5.7");

/** From this version on, the compiler knows that Node can require() ES modules. */
const SINCE_REQUIRE = VERSIONS.indexOf("5.8");

const runtimes = inject("runtimes").filter(({ platform }) => platform === "linux-x64-gnu");

let registry: Registry;
let consumer: Consumer;

beforeAll(async () => {
  const [runtime] = runtimes;
  if (runtime === undefined) throw new Error("there is no Node");
  registry = await Registry.start(inject("upstream"));
  consumer = new Consumer(runtime);
  await consumer.npm(
    "install",
    tarballOf(NAME),
    tarballOf(`${NAME}-linux-x64-gnu`),
    "@types/node@20",
    ...VERSIONS.map((version) => `typescript-${version}@npm:typescript@${version}`),
    ...registry.options,
  );
});

afterAll(async () => {
  consumer?.[Symbol.dispose]();
  await registry?.[Symbol.asyncDispose]();
});

/** Compiles the program as a project of some kind, and returns the compiler's output. */
async function compile(
  kind: Project,
  version: string,
  skipLibCheck = false,
): Promise<{ output: string; compiled: string }> {
  const { source, compiled, module, moduleResolution } = PROJECTS[kind];
  const folder = `${kind.replace("()", "")}-${version}`;
  consumer.add("consumer", folder);
  if (source !== "consumer.ts") {
    copyFileSync(join(consumer.project, folder, "consumer.ts"), join(consumer.project, folder, source));
  }
  const compilerOptions = {
    module,
    moduleResolution,
    target: "es2022",
    lib: ["es2022"],
    // Our declarations bring those of Node.
    types: [],
    strict: true,
    exactOptionalPropertyTypes: true,
    // Otherwise the declarations of everything installed are checked, including those of dependencies.
    skipLibCheck,
    rootDir: ".",
    outDir: "out",
  };
  const tsconfig = join(consumer.project, folder, "tsconfig.json");
  writeFileSync(tsconfig, JSON.stringify({ compilerOptions, files: [source] }));
  const tsc = consumer.installed(`typescript-${version}`, "bin", "tsc");
  const { stdout, stderr } = await consumer.node([tsc, "-p", tsconfig]);
  return { output: stdout + stderr, compiled: join(consumer.project, folder, "out", compiled) };
}

async function expectRuns(runtime: Runtime, file: string): Promise<void> {
  const ended = await run(runtime.node, [file], { cwd: consumer.project, env: { PATH: "" } });
  expect(ended).toEqual({ status: 0, stdout: PRINTED, stderr: "" });
}

describe.each(VERSIONS.slice(0, SINCE_GENERIC_ARRAYS))("TypeScript %s", (version) => {
  it.each(MODULES)(
    "compiles a program in a project of the kind %s if it skips the declarations",
    async (kind) => {
      expect((await compile(kind, version, true)).output).toBe("");
    },
  );

  it.each(MODULES)("accepts our declarations in a project of the kind %s", async (kind) => {
    // protobuf-es uses Uint8Array<ArrayBuffer>, which came with TypeScript 5.7.
    const lines = (await compile(kind, version)).output.trim().split("\n");
    expect(lines.filter((line) => !/^node_modules\/@bufbuild\/protobuf\/.*error TS2315/.test(line))).toEqual(
      [],
    );
  });
});

describe.each(VERSIONS.slice(SINCE_GENERIC_ARRAYS))("TypeScript %s", (version) => {
  it.each(MODULES)(
    "compiles a program in a project of the kind %s, and checks all declarations",
    async (kind) => {
      expect((await compile(kind, version)).output).toBe("");
    },
  );
});

describe.each(VERSIONS.slice(SINCE_REQUIRE))("TypeScript %s", (version) => {
  it("compiles a program that uses require()", async () => {
    expect((await compile("require()", version)).output).toBe("");
  });
});

describe.each(runtimes.map((runtime) => [runtime.version, runtime] as const))("Node %s", (_, runtime) => {
  it.each(["NodeNext", "require()"] as const)(
    "runs the compiled program of a project of the kind %s",
    async (kind) => {
      const { output, compiled } = await compile(kind, "latest");
      expect(output).toBe("");
      await expectRuns(runtime, compiled);
    },
  );

  it.each([
    ["esm", "mjs"],
    ["cjs", "cjs"],
  ])(
    "runs a bundle of the format %s, with the addon beside it in node_modules",
    async (format, extension) => {
      const { compiled } = await compile("bundler", "latest");
      const bundle = join(consumer.project, `bundle.${extension}`);
      const esbuild = join(ROOT, "node_modules", ".bin", "esbuild");
      const args = [
        compiled,
        "--bundle",
        "--platform=node",
        `--format=${format}`,
        `--outfile=${bundle}`,
        "--log-level=warning",
      ];
      expect(await run(esbuild, args, { cwd: consumer.project })).toMatchObject({ status: 0, stderr: "" });
      await expectRuns(runtime, bundle);
    },
  );
});
