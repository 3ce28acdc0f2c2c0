import { chmodSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { Consumer, run } from "./consumer.js";
import { Registry } from "./registry.js";
import { NAME, tarballOf } from "./release.js";

/** The packages with the programs of other runtimes. */
const OTHERS = { bun: "@oven/bun-linux-x64@1.4.5", deno: "@deno/linux-x64-glibc@2.9.6" };

/** What fixtures/talk.mjs prints when it succeeds. */
const TALK = { id: "a,b", own: true, status: "RUNNING", chat: ["one", "two"], code: "NotFound", same: true };

const runtimes = inject("runtimes").filter(({ platform }) => platform === "linux-x64-gnu");

let registry: Registry;
let consumer: Consumer;

beforeAll(async () => {
  registry = await Registry.start(inject("upstream"));
  const newest = runtimes.at(-1);
  if (newest === undefined) throw new Error("there is no Node");
  consumer = new Consumer(newest);
  const files = [NAME, `${NAME}-linux-x64-gnu`].map(tarballOf);
  await consumer.npm("install", ...files, ...Object.values(OTHERS), ...registry.options);
  consumer.add("talk.mjs");
});

afterAll(async () => {
  consumer?.[Symbol.dispose]();
  await registry?.[Symbol.asyncDispose]();
});

/** The words that run a program in another runtime. */
function commandOf(name: keyof typeof OTHERS): readonly [string, ...string[]] {
  if (name === "bun") return [consumer.installed("@oven", "bun-linux-x64", "bin", "bun")];
  const deno = consumer.installed("@deno", "linux-x64-glibc", "deno");
  chmodSync(deno, 0o755);
  return [deno, "run", "--allow-all", "--node-modules-dir=manual", "--no-lock"];
}

function start(name: keyof typeof OTHERS, file: string) {
  const [program, ...args] = commandOf(name);
  const env = { PATH: "", HOME: consumer.folder, NO_COLOR: "1" };
  return run(program, [...args, file], { cwd: consumer.project, env });
}

describe.each(["bun", "deno"] as const)("%s", (name) => {
  it("makes calls, and uses the thread driver by default", async () => {
    const { status, stdout, stderr } = await start(name, "talk.mjs");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(JSON.parse(stdout)).toEqual(TALK);
  });

  it("takes a descriptor, and says what is wrong about one", async () => {
    consumer.write(
      "descriptor.mjs",
      `
      import { openSync } from "node:fs";
      import { connect } from "${NAME}";
      await connect({ fd: openSync("/dev/null") }).catch((error) => console.log(error.name, error.cause?.code));
    `,
    );
    const { status, stdout } = await start(name, "descriptor.mjs");
    expect({ status, stdout }).toEqual({ status: 0, stdout: "TtrpcError ENOTSOCK\n" });
  });

  it.each([
    [`createServer({ driver: "loop" })`, `driver "loop" needs Node's own event loop, which`],
    [`connectSync("unix:///none.sock")`, "a blocking connection needs Node's own event loop, which"],
  ])("refuses %s", async (call, message) => {
    consumer.write(
      "refused.mjs",
      `
      import { connectSync, createServer } from "${NAME}";
      try { ${call}; } catch (error) { console.log(error.name + ": " + error.message); }
      void [connectSync, createServer];
    `,
    );
    const { status, stdout } = await start(name, "refused.mjs");
    expect({ status, stdout }).toEqual({
      status: 0,
      stdout: expect.stringContaining(`TypeError: ${message}`),
    });
  });
});

describe.each(runtimes.map((runtime) => [runtime.version, runtime] as const))(
  "Node %s",
  (version, runtime) => {
    // Node 20 has the flag of the permission model under its first name.
    const model = version.startsWith("20.") ? "--experimental-permission" : "--permission";

    it("says what its permission model must allow", async () => {
      consumer.write(
        "load.mjs",
        `import("${NAME}").catch(({ code, message }) => console.log(code + message));`,
      );
      const args = [model, "--allow-fs-read=*", "--no-warnings", "load.mjs"];
      const { stdout } = await run(runtime.node, args, { cwd: consumer.project, env: { PATH: "" } });
      expect(stdout).toMatch(/^ERR_NATIVE_ADDON/);
      expect(stdout).toContain(
        "Node's permission model is on. It must allow addons, and reading the addon's file:",
      );
      expect(stdout).toContain("--allow-addons");
    });

    it.each([
      [model, "--allow-addons", "--allow-fs-read=*", "--allow-fs-write=/tmp/*"],
      ["--frozen-intrinsics"],
      ["--disallow-code-generation-from-strings"],
    ])("makes calls with %s", async (...flags) => {
      const args = ["--no-warnings", ...flags, "talk.mjs"];
      const ended = await run(runtime.node, args, { cwd: consumer.project, env: { PATH: "" } });
      expect(ended).toMatchObject({ status: 0, stderr: "" });
      expect(JSON.parse(ended.stdout)).toEqual(TALK);
    });
  },
);
