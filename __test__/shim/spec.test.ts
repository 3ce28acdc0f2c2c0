import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { processOf, readSpec, resourcesOf } from "containerd-shim-protos/shim/spec";
import { describe, expect, test } from "vitest";
import { temporaryPath } from "../helpers/temp.js";

const anyOf = (text: string) => ({ typeUrl: "any", value: Buffer.from(text) }) as never;

describe("the specification of a container", () => {
  const bundle = temporaryPath();
  mkdirSync(bundle);
  const file = join(bundle, "config.json");

  test("is read from a bundle, with what it does not list", () => {
    const spec = { ociVersion: "1.2.0", linux: { namespaces: [{ type: "pid" }] }, "com.example": { a: 1 } };
    writeFileSync(file, JSON.stringify(spec));
    expect(readSpec(bundle)).toEqual(spec);
  });

  test.each([
    ["is cut", '{"ociVersion": ', /config\.json is not JSON/],
    ["is a list", "[]", /config\.json must be a JSON object, not an array/],
    ["is null", "null", /config\.json must be a JSON object, not null/],
  ])("that %s is refused with the name of its file", (_, text, said) => {
    writeFileSync(file, text);
    expect(() => readSpec(bundle)).toThrow(said);
  });

  test("that is missing is the system's error", () => {
    expect(() => readSpec("/no/bundle")).toThrow(expect.objectContaining({ code: "ENOENT" }));
  });

  test("comes as JSON in the requests of Exec and Update", () => {
    expect(processOf(anyOf('{"args":["sh"],"cwd":"/"}'))).toEqual({ args: ["sh"], cwd: "/" });
    expect(resourcesOf(anyOf('{"memory":{"limit":1}}'))).toEqual({ memory: { limit: 1 } });
    expect(() => processOf(undefined)).toThrow(TypeError);
    expect(() => processOf(anyOf("x"))).toThrow(/the spec of an exec is not JSON/);
    expect(() => resourcesOf(anyOf("1"))).toThrow(/the resources of an update must be a JSON object/);
  });
});
