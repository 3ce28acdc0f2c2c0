import { lstatSync, readdirSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { Consumer, type Runtime } from "./consumer.js";
import { Registry } from "./registry.js";
import { NAME, tarballOf, tarballs, VERSION } from "./release.js";

const runtimes = inject("runtimes");

/** What fixtures/talk.mjs prints when it succeeds. */
const TALK = { id: "a,b", own: true, status: "RUNNING", chat: ["one", "two"], code: "NotFound", same: true };

const named = (list: readonly Runtime[]) =>
  list.map((runtime) => [`Node ${runtime.version} on ${runtime.platform}`, runtime] as const);

let registry: Registry;

beforeAll(async () => {
  registry = await Registry.start(inject("upstream"));
  const [first] = runtimes;
  if (first === undefined) throw new Error("there is no Node");
  using publisher = new Consumer(first);
  for (const tarball of tarballs) await publisher.npm("publish", tarball, ...registry.options);
});

afterAll(async () => {
  await registry?.[Symbol.asyncDispose]();
});

async function expectTalk(consumer: Consumer): Promise<void> {
  consumer.add("talk.mjs");
  const talk = await consumer.node(["talk.mjs"]);
  expect(talk.stderr).toBe("");
  expect(talk.status).toBe(0);
  expect(JSON.parse(talk.stdout)).toEqual(TALK);
}

/** The names and versions of everything installed, from `npm ls`. */
async function listed(consumer: Consumer): Promise<Record<string, string>> {
  interface Tree {
    readonly version: string;
    readonly dependencies?: Record<string, Tree>;
  }
  const tree = JSON.parse(await consumer.npm("ls", "--all", "--json")) as Tree;
  const found: Record<string, string> = {};
  const walk = ({ dependencies = {} }: Tree) => {
    for (const [name, dependency] of Object.entries(dependencies)) {
      // An optional package that was left out has no version.
      if (dependency.version !== undefined) found[name] = dependency.version;
      walk(dependency);
    }
  };
  walk(tree);
  return found;
}

describe.each(named(runtimes))("%s", (_, runtime) => {
  it("installs the package and its addon from a registry, and makes calls", async () => {
    using consumer = new Consumer(runtime);
    await consumer.npm("install", NAME, ...registry.options);

    expect(await listed(consumer)).toEqual({
      [NAME]: VERSION,
      [`${NAME}-${runtime.platform}`]: VERSION,
      "@bufbuild/protobuf": expect.stringMatching(/^2\./),
    });
    const folders = readdirSync(consumer.installed()).filter((name) => !name.startsWith("."));
    expect(folders).toEqual(["@bufbuild", NAME, `${NAME}-${runtime.platform}`]);
    await expectTalk(consumer);
  });
});

describe.each(named(runtimes.filter(({ platform }) => platform === "linux-x64-gnu")))(
  "%s, without a registry that has the package",
  (_, runtime) => {
    it("installs two of the tarballs, and makes calls", async () => {
      using consumer = new Consumer(runtime);
      await using empty = await Registry.start(inject("upstream"));
      const files = [tarballOf(NAME), tarballOf(`${NAME}-${runtime.platform}`)];
      await consumer.npm("install", ...files, ...empty.options);

      expect(Object.keys(await listed(consumer)).toSorted()).toEqual([
        "@bufbuild/protobuf",
        NAME,
        `${NAME}-${runtime.platform}`,
      ]);
      expect(lstatSync(consumer.installed(NAME)).isSymbolicLink()).toBe(false);
      await expectTalk(consumer);
    });
  },
);
