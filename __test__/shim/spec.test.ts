import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { processOf, readSpec, resourcesOf, specJson } from "containerd-shim-protos/shim/spec";
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

  test("keeps integers of 64 bits on its way to the runtime", () => {
    const text =
      '{"args":["18446744073709551615","\\"9007199254740993"],"rlimits":[{"hard":18446744073709551615,"soft":9007199254740993}],' +
      '"list":[-9223372036854775808,1.2345678901234567,1e30,9007199254740991],"terminal":false}';
    const process = processOf(anyOf(text));
    expect(process.rlimits?.[0]?.hard).toBe(2 ** 64);
    expect(specJson(process)).toBe(text.replace("1e30", "1e+30"));
    expect(specJson({ ...process, terminal: true })).toContain('"hard":18446744073709551615');
    const [limit] = process.rlimits ?? [];
    Object.assign(limit ?? {}, { soft: 5 });
    expect(specJson(process)).toContain('"rlimits":[{"hard":18446744073709551615,"soft":5}]');
    writeFileSync(file, text);
    expect(specJson(readSpec(bundle))).toContain('"soft":9007199254740993');
    expect(() => processOf(anyOf('{"hard":018446744073709551615}'))).toThrow(/is not JSON/);
    expect(() => specJson([])).toThrow("value must be an object, not an array");
  });

  test("is read in time that grows with its length, whatever it holds", () => {
    const unended = `{"a":${'"\\'.repeat(1 << 16)}1234567890123456`;
    expect(() => processOf(anyOf(unended))).toThrow(/is not JSON/);
    const long = "a".repeat(16 << 20);
    const text = `{"args":["${long}","\\\\"],"rlimits":[{"hard":18446744073709551615}]}`;
    const process = processOf(anyOf(text));
    expect(process.args?.[0]?.length).toBe(long.length);
    expect(specJson({ rlimits: process.rlimits })).toBe('{"rlimits":[{"hard":18446744073709551615}]}');
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
