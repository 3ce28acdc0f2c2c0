import { copyFileSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { Consumer, run, type Runtime } from "./consumer.js";
import { Registry } from "./registry.js";
import { NAME, type PlatformName, PLATFORMS, ROOT, tarballOf, VERSION } from "./release.js";

const PRINT_CODE = `import("${NAME}").then((product) => console.log(product.Code.NotFound))`;
const PRINT_ERROR = `import("${NAME}").catch((error) => console.log(error.code + "\\n" + error.message))`;

function runtimeFor(platform: PlatformName): Runtime {
  const found = inject("runtimes").find((runtime) => runtime.platform === platform);
  if (found === undefined) throw new Error(`there is no Node for ${platform}`);
  return found;
}

/** The addon that was built for a platform. */
function addonOf(platform: PlatformName): string {
  return join(ROOT, "npm", platform, `${NAME}.${platform}.node`);
}

let registry: Registry;

beforeAll(async () => {
  registry = await Registry.start(inject("upstream"));
});

afterAll(async () => {
  await registry?.[Symbol.asyncDispose]();
});

/** A consumer with the main package and those of these platforms. */
async function consumerWith(runtime: Runtime, ...platforms: readonly PlatformName[]): Promise<Consumer> {
  const consumer = new Consumer(runtime);
  const files = [NAME, ...platforms.map((platform) => `${NAME}-${platform}`)].map(tarballOf);
  // npm would never install the package of another platform by itself.
  await consumer.npm("install", "--force", ...files, ...registry.options);
  return consumer;
}

async function failure(consumer: Consumer, env?: Record<string, string>): Promise<string> {
  const { stdout, stderr } = await consumer.node(["-e", PRINT_ERROR], env);
  expect(stderr).toBe("");
  return stdout.replaceAll(consumer.installed(), "node_modules");
}

describe("the loader", () => {
  const glibc = runtimeFor("linux-x64-gnu");

  it("says what it looked for, what to do about npm's bug, and how to build from source", async () => {
    using consumer = await consumerWith(glibc);
    expect(await failure(consumer)).toBe(`ERR_NATIVE_ADDON
${NAME} ${VERSION} could not load its native addon on platform linux, architecture x64, libc glibc.

Tried:
  node_modules/${NAME}/${NAME}.linux-x64-gnu.node: not found
  ${NAME}-linux-x64-gnu: not found

npm installs ${NAME}-linux-x64-gnu with the package, unless it was told to omit optional dependencies, or has the bug that
leaves them out when a lock file comes from another platform (https://github.com/npm/cli/issues/4828). To fix it:
  rm -rf node_modules package-lock.json && npm install

To build the addon from source, with Rust and a C compiler, run \`npm ci\` in a clone of ${NAME} ${VERSION}, then set
  NAPI_RS_NATIVE_LIBRARY_PATH=/path/to/clone/${NAME}.linux-x64-gnu.node
`);
  });

  it("names musl if Node runs on it, and the emulated processor", async () => {
    using musl = await consumerWith(runtimeFor("linux-x64-musl"));
    expect(await failure(musl)).toContain("platform linux, architecture x64, libc musl.");
    using arm64 = await consumerWith(runtimeFor("linux-arm64-gnu"));
    const message = await failure(arm64);
    expect(message).toContain("platform linux, architecture arm64, libc glibc.");
    expect(message).toContain(`${NAME}-linux-arm64-gnu: not found`);
  });

  it("says why the dynamic loader refuses an addon", async () => {
    using consumer = await consumerWith(glibc, "linux-x64-gnu");
    const addon = `${NAME}.linux-x64-gnu.node`;
    copyFileSync(addonOf("linux-arm64-gnu"), consumer.installed(`${NAME}-linux-x64-gnu`, addon));
    expect(await failure(consumer)).toMatch(
      new RegExp(`\\n  ${NAME}-linux-x64-gnu: .*${addon}: cannot open shared object file`),
    );
  });

  it.each(PLATFORMS)("is a program, too, on %s", async (platform) => {
    const [program = "", ...args] = [...runtimeFor(platform).starter, addonOf(platform), "-v"];
    const { status, stdout, stderr } = await run(program, args, { cwd: ROOT, env: { PATH: "" } });
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toContain("holds no shim");
  });

  it("refuses an addon of another version, and names both versions", async () => {
    using consumer = await consumerWith(glibc, "linux-x64-gnu");
    const file = consumer.installed(NAME, "dist", "chunks", "core.js");
    writeFileSync(file, readFileSync(file, "utf8").replaceAll(VERSION, "9.8.7"));
    const message = await failure(consumer);
    expect(message).toContain(`${NAME} 9.8.7 could not load its native addon`);
    expect(message).toContain(
      `\n  ${NAME}-linux-x64-gnu: its version is ${VERSION}, but ${NAME} is 9.8.7: both must be the same\n`,
    );
  });

  it("finds the addon for the running Node, whatever others are installed", async () => {
    using consumer = await consumerWith(glibc, "linux-x64-gnu", "linux-x64-musl", "linux-arm64-gnu");
    expect(await consumer.node(["-e", PRINT_CODE])).toMatchObject({ stdout: "5\n", stderr: "" });
  });

  it("finds the addon in a worker and in the main thread at once", async () => {
    using consumer = await consumerWith(glibc, "linux-x64-gnu");
    const script = `${PRINT_CODE}; new (require("node:worker_threads").Worker)(${JSON.stringify(PRINT_CODE)}, { eval: true })`;
    expect(await consumer.node(["--input-type=commonjs", "-e", script])).toMatchObject({
      stdout: "5\n5\n",
      stderr: "",
    });
  });

  describe("with NAPI_RS_NATIVE_LIBRARY_PATH", () => {
    it("loads the addon that it names, relative to the working directory", async () => {
      using consumer = await consumerWith(glibc, "linux-x64-gnu");
      const packaged = consumer.installed(`${NAME}-linux-x64-gnu`, `${NAME}.linux-x64-gnu.node`);
      renameSync(packaged, join(consumer.project, "own.node"));
      rmSync(consumer.installed(`${NAME}-linux-x64-gnu`), { recursive: true });
      const env = { NAPI_RS_NATIVE_LIBRARY_PATH: "own.node" };
      expect(await consumer.node(["-e", PRINT_CODE], env)).toMatchObject({ stdout: "5\n", stderr: "" });
    });

    it("loads no other addon if that fails", async () => {
      using consumer = await consumerWith(glibc, "linux-x64-gnu");
      const message = await failure(consumer, { NAPI_RS_NATIVE_LIBRARY_PATH: "/nowhere/own.node" });
      expect(message).toContain("Tried:\n  /nowhere/own.node: not found\n\n");
      expect(message).toContain("NAPI_RS_NATIVE_LIBRARY_PATH names the one addon to load.");
    });

    it("refuses an addon of another version", async () => {
      using consumer = await consumerWith(glibc);
      const file = consumer.installed(NAME, "dist", "chunks", "core.js");
      writeFileSync(file, readFileSync(file, "utf8").replaceAll(VERSION, "9.8.7"));
      const message = await failure(consumer, { NAPI_RS_NATIVE_LIBRARY_PATH: addonOf("linux-x64-gnu") });
      expect(message).toContain(`: its version is ${VERSION}, but ${NAME} is 9.8.7`);
    });
  });
});
