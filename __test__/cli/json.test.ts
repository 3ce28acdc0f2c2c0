import { writeFileSync } from "node:fs";
import path from "node:path";
import { createRegistry, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { messageToJson } from "../../src/cli/message-to-json.js";
import { messageFromJson } from "../../src/cli/message-from-json.js";
import { parseJson } from "../../src/cli/json-value.js";
import { plainJson } from "../../src/cli/output/json.js";
import { registryOfProtos } from "../../src/cli/schema/proto.js";
import { WELL_KNOWN_FILES } from "../../src/cli/schema/well-known.js";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { temporaryPath } from "../helpers/temp.js";
import { shimctl } from "./shimctl.js";

const FILE = path.join(import.meta.dirname, "protos/numbers/numbers.proto");
const registry = createRegistry(...WELL_KNOWN_FILES.values(), registryOfProtos([FILE], []));
const Numbers = registry.getMessage("test.Numbers")!;

/** The JSON of a message that was made from JSON, sent and received. */
function roundTrip(json: string): string {
  const message = messageFromJson(Numbers, parseJson(json), registry);
  const received = fromBinary(Numbers, toBinary(Numbers, message));
  return plainJson(messageToJson(Numbers, received, { registry })).rendered;
}

/** A JSON number of any size and in any form. */
const numberText = fc.oneof(
  fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }).map(String),
  fc.constantFrom(
    "18446744073709551615",
    "9007199254740993",
    "-9223372036854775808",
    "1e400",
    "-0",
    "1.0",
    "1E5",
  ),
  fc
    .tuple(
      fc.bigInt({ min: -(10n ** 25n), max: 10n ** 25n }),
      fc.nat({ max: 10 ** 9 }),
      fc.integer({ min: -400, max: 400 }),
    )
    .map(([whole, fraction, exponent]) => `${whole}.${fraction}e${exponent}`),
);

describe("a number in JSON", () => {
  it("crosses in an Any of JSON exactly as written, both ways", () => {
    const json = fc.letrec<{ json: string }>((tie) => ({
      json: fc.oneof(
        { maxDepth: 4 },
        numberText,
        fc.string({ unit: "binary" }).map((text) => JSON.stringify(text)),
        fc.array(tie("json"), { maxLength: 4 }).map((items) => `[${items.join(",")}]`),
        fc.uniqueArray(fc.string(), { maxLength: 3 }).chain((keys) =>
          fc.tuple(...keys.map(() => tie("json"))).map((values) => {
            const members = values.map(
              (value, index) => `${JSON.stringify(`k${keys[index]}`)}:${value as string}`,
            );
            return `{${members.join(",")}}`;
          }),
        ),
      ),
    })).json;
    fc.assert(
      fc.property(json, (value) => {
        const any = `{"@type":"types.containerd.io/x","value":[${value}]}`;
        const message = messageFromJson(AnySchema, parseJson(any), registry) as Any;
        // The exact text, apart from escapes that JSON leaves open.
        expect(parseJson(Buffer.from(message.value).toString())).toEqual(parseJson(`[${value}]`));
        const shown = plainJson(messageToJson(AnySchema, message, { registry })).rendered;
        expect(parseJson(shown)).toEqual(parseJson(any));
        expect(numbersIn(shown)).toEqual(numbersIn(any));
      }),
    );
  });

  it("sets an integer field to exactly its value, or is refused", () => {
    const field = fc.constantFrom(
      ["u64", 0n, 2n ** 64n - 1n] as const,
      ["f64", 0n, 2n ** 64n - 1n] as const,
      ["i64", -(2n ** 63n), 2n ** 63n - 1n] as const,
      ["s64", -(2n ** 63n), 2n ** 63n - 1n] as const,
      ["u32", 0n, 2n ** 32n - 1n] as const,
      ["i32", -(2n ** 31n), 2n ** 31n - 1n] as const,
    );
    fc.assert(
      fc.property(
        field,
        fc.bigInt({ min: -(2n ** 65n), max: 2n ** 65n }),
        fc.nat(3),
        ([name, least, most], value, zeros) => {
          const text = `${value}${zeros > 0 ? `.${"0".repeat(zeros)}` : ""}`;
          if (value < least || value > most) expect(() => roundTrip(`{"${name}":${text}}`)).toThrow(name);
          else if (value === 0n) expect(roundTrip(`{"${name}":${text}}`)).toBe("{}");
          else {
            const shown = name.endsWith("64") ? `"${value}"` : String(value);
            expect(roundTrip(`{"${name}":${text}}`)).toBe(`{"${name}":${shown}}`);
          }
        },
      ),
    );
  });

  it.each([
    ['{"u64":18446744073709551615}', '{"u64":"18446744073709551615"}'],
    ['{"i64":9007199254740993}', '{"i64":"9007199254740993"}'],
    ['{"i64":-9.223372036854775808e18}', '{"i64":"-9223372036854775808"}'],
    [
      '{"list":[9007199254740993,"9007199254740993",1e3]}',
      '{"list":["9007199254740993","9007199254740993","1000"]}',
    ],
    ['{"map":{"a":18446744073709551615}}', '{"map":{"a":"18446744073709551615"}}'],
    ['{"wrapped":9007199254740993}', '{"wrapped":"9007199254740993"}'],
    ['{"nested":{"u64":9007199254740993}}', '{"nested":{"u64":"9007199254740993"}}'],
    [
      '{"any":{"@type":"x/test.Numbers","u64":9007199254740993}}',
      '{"any":{"@type":"x/test.Numbers","u64":"9007199254740993"}}',
    ],
    ['{"double":0.1,"float":1.5}', '{"double":0.1,"float":1.5}'],
    ['{"double":9007199254740993}', '{"double":9007199254740992}'],
    ['{"colour":1}', '{"colour":"RED"}'],
    ['{"names":{"__proto__":"x","constructor":"y"}}', '{"names":{"__proto__":"x","constructor":"y"}}'],
    [
      '{"anys":{"__proto__":{"@type":"x/y","value":[1]}}}',
      '{"anys":{"__proto__":{"@type":"x/y","value":[1]}}}',
    ],
  ])("in %s is shown by the message as %s", (json, shown) => {
    expect(roundTrip(json)).toBe(shown);
  });

  it.each([
    ['{"i32":1.00000000000000000000000001}', "test.Numbers.i32"],
    ['{"u64":1.5}', "test.Numbers.u64"],
    ['{"u64":-1}', "test.Numbers.u64"],
    ['{"u64":1e999999999}', "test.Numbers.u64"],
    ['{"double":1e400}', "test.Numbers.double"],
    ['{"float":1e39}', "test.Numbers.float"],
    ['{"string":18446744073709551615}', "test.Numbers.string"],
    ['{"colour":4294967297}', "test.Numbers.colour"],
    ['{"struct":{"a":1e400}}', "test.Numbers.struct"],
  ])("is refused in %s, by the name of its field", (json, field) => {
    expect(() => roundTrip(json)).toThrow(field);
  });
});

describe("JSON that breaks protobuf's rules is refused:", () => {
  it.each([
    ["a field under both of its names", '{"two_words":"a","twoWords":"b"}', "test.Numbers.two_words"],
    [
      "a field with an Any under both of its names",
      '{"any_too":{"@type":"x/y","value":[]},"anyToo":{"@type":"x/y","value":[]}}',
      'field test.Numbers.any_too is set twice, by "any_too" and by "anyToo"',
    ],
    [
      "a message under both of its names",
      '{"nested_too":{},"nestedToo":{}}',
      'set twice, by "nested_too" and by "nestedToo"',
    ],
    [
      "a field under both of its names, even if one is null",
      '{"any_too":null,"anyToo":{"@type":"x/y","value":[]}}',
      "set twice",
    ],
    [
      "two of one oneof",
      '{"one":"a","other":{"@type":"x/y","value":[]}}',
      'the oneof test.Numbers.choice is set twice, by "one" and by "other"',
    ],
    ["two scalars of one oneof", '{"one":"a","third":1}', "test.Numbers.choice"],
    [
      "an Any whose type URL has no slash and names nothing known",
      '{"any":{"@type":"not_a_url","value":"AAAA"}}',
      'field test.Numbers.any: "@type" "not_a_url" is neither',
    ],
    [
      "an Any of a known type with an unknown key beside its value",
      '{"any":{"@type":"x/google.protobuf.Duration","value":"1s","valeu":1}}',
      'the JSON of a google.protobuf.Duration belongs in "value", without "valeu"',
    ],
    [
      "an Any without a type",
      '{"any":{"value":"AAAA"}}',
      'field test.Numbers.any is a google.protobuf.Any: it needs "@type"',
    ],
    ["a list that is not an array", '{"anyList":{}}', "field test.Numbers.any_list must be an array"],
    [
      "an invalid key of a map",
      '{"byNumber":{"1x":{"@type":"x/y","value":[]}}}',
      'field test.Numbers.by_number has the key "1x", which is not of type int64',
    ],
    ["a key twice", '{"one":"a","one":"b"}', 'Duplicate key "one"'],
    [
      "a value that is nested too deep",
      `{"any":{"@type":"x/y","value":${"[".repeat(101)}${"]".repeat(101)}}}`,
      "deeper than 100 levels",
    ],
  ])("%s", (_, json, said) => {
    expect(() => roundTrip(json)).toThrow(said);
  });

  it("but null leaves a member of a oneof unset", () => {
    expect(roundTrip('{"one":"a","other":null}')).toBe('{"one":"a"}');
  });
});

describeWithPeer("shimctl call, with large numbers,", () => {
  it("gets back what it sent", async () => {
    await using peer = await Peer.echo();
    const file = temporaryPath(".json");
    writeFileSync(
      file,
      '{"u64":18446744073709551615,"any":{"@type":"types.containerd.io/x","value":{"hard":18446744073709551615,"soft":9007199254740993,"e":1E3}}}',
    );
    const { code, stdout, stderr } = await shimctl([
      "call",
      peer.address,
      "test.Echo/Echo",
      "--proto",
      FILE,
      `@${file}`,
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toBe(
      '{"u64":"18446744073709551615","any":{"@type":"types.containerd.io/x","value":{"hard":18446744073709551615,"soft":9007199254740993,"e":1E3}}}\n',
    );
    const twice = await shimctl([
      "call",
      peer.address,
      "test.Echo/Echo",
      "--proto",
      FILE,
      '{"two_words":"a","twoWords":"b"}',
    ]);
    expect(twice).toMatchObject({ code: 2, stdout: "" });
    expect(twice.stderr).toContain(
      'field test.Numbers.two_words is set twice, by "two_words" and by "twoWords"',
    );
  });
});

function numbersIn(json: string): string[] {
  return json.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""').match(/-?\d[\d.eE+-]*/g) ?? [];
}
