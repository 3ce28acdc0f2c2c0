import { writeFileSync } from "node:fs";
import path from "node:path";
import { create, createRegistry, fromBinary, toBinary } from "@bufbuild/protobuf";
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
    const whole = fc.bigInt({ min: -(2n ** 65n), max: 2n ** 65n });
    // JavaScript writes a double with the fewest digits that lead back to it, which often are another number's.
    const asDouble = whole.map((value) => BigInt(String(Number(value))));
    fc.assert(
      fc.property(field, fc.oneof(whole, asDouble), fc.nat(3), ([name, least, most], value, zeros) => {
        const text = `${value}${zeros > 0 ? `.${"0".repeat(zeros)}` : ""}`;
        if (value < least || value > most) expect(() => roundTrip(`{"${name}":${text}}`)).toThrow(name);
        else if (value === 0n) expect(roundTrip(`{"${name}":${text}}`)).toBe("{}");
        else {
          const shown = name.endsWith("64") ? `"${value}"` : String(value);
          expect(roundTrip(`{"${name}":${text}}`)).toBe(`{"${name}":${shown}}`);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it.each([
    ['{"u64":18446744073709551615}', '{"u64":"18446744073709551615"}'],
    ['{"i64":9007199254740993}', '{"i64":"9007199254740993"}'],
    // JavaScript writes the double that is nearest to it in the same way.
    ['{"i64":-1847014304987789300}', '{"i64":"-1847014304987789300"}'],
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
    ['{"i64":"1e3","u32":"1.50e1","sf64":"-1.0"}', '{"i64":"1000","u32":15,"sf64":"-1"}'],
    ['{"byI64":{"-1":"a"},"byF32":{"1":"b"}}', '{"byI64":{"-1":"a"},"byF32":{"1":"b"}}'],
    ['{"double":-0.0,"float":"-0"}', '{"double":-0,"float":-0}'],
    ['{"struct":{"a":-0.0}}', '{"struct":{"a":-0}}'],
    ['{"double":"-1.5e3","float":"NaN"}', '{"double":-1500,"float":"NaN"}'],
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
    ['{"byI64":{"1e3":"a"}}', "test.Numbers.by_i64"],
    ['{"byF32":{"-1":"a"}}', "test.Numbers.by_f32"],
  ])("is refused in %s, by the name of its field", (json, field) => {
    expect(() => roundTrip(json)).toThrow(field);
  });
});

describe("the message in an Any", () => {
  const anyOf = (value: string) =>
    messageToJson(
      AnySchema,
      create(AnySchema, { typeUrl: "google.protobuf.Timestamp", value: Buffer.from(value, "hex") }),
      { registry },
    );

  it("is shown without fields of another wire type, as calls read it", () => {
    expect(anyOf("0a0210071009")).toMatchObject({ value: "1970-01-01T00:00:00.000000009Z" });
  });

  it("is shown as its bytes if it is malformed", () => {
    expect(anyOf("0a09")).toMatchObject({ value: "Cgk=" });
  });
});

describe("JSON that breaks protobuf's rules is refused:", () => {
  const INTEGERS = "u64 f64 i64 s64 sf64 u32 f32 i32 s32 sf32 wrapped wrapped32".split(" ");
  const NO_INTEGERS = [
    "0x10",
    "0b1",
    " 1",
    "1 ",
    "1\\n",
    "+1",
    "01",
    "-01",
    ".5e1",
    "5.",
    "1.5",
    "1e-1",
    "",
    "-",
    "1n",
  ];
  it.each(INTEGERS)("a text that is no integer in JSON, for %s", (name) => {
    for (const text of NO_INTEGERS) {
      const refused = `test.Numbers.${name} must be a whole number that fits, not "${text}"`;
      expect(() => roundTrip(`{"${name}":"${text}"}`), text).toThrow(refused);
    }
    expect(() => roundTrip(`{"list":["1","0x1"]}`)).toThrow("test.Numbers.list must be a whole number");
  });

  it.each(["byI64", "byF32", "byNumber"])("a key that is no integer, for %s", (name) => {
    const value = name === "byNumber" ? "{}" : '"a"';
    for (const key of [...NO_INTEGERS, "1e3", "1.0"])
      expect(() => roundTrip(`{"${name}":{"${key}":${value}}}`), key).toThrow(
        `has the key "${key}", which is not of type`,
      );
  });

  it.each(["double", "float"])("a text that is no number in JSON, for %s", (name) => {
    for (const text of ["0x10", " 1", "+1", "01", ".5", "5.", "", "nan", "+Infinity", "1e400"])
      expect(() => roundTrip(`{"${name}":"${text}"}`), text).toThrow(`test.Numbers.${name}`);
  });

  it.each([
    ["a day that its month does not have", "2020-02-30T00:00:00Z"],
    ["the 31st of April", "2020-04-31T00:00:00Z"],
    ["a 29th of February in a year that is no leap year", "2021-02-29T00:00:00Z"],
    ["the same in 1900", "1900-02-29T00:00:00Z"],
    ["a month 13", "2020-13-01T00:00:00Z"],
    ["a day 0", "2020-01-00T00:00:00Z"],
    ["24 o'clock", "2020-01-01T24:00:00Z"],
    ["a minute 60", "2020-01-01T00:60:00Z"],
    ["a leap second", "2016-12-31T23:59:60Z"],
    ["an offset of a day", "2020-01-01T00:00:00+24:00"],
    ["an offset with a minute 60", "2020-01-01T00:00:00+01:60"],
    ["no offset", "2020-01-01T00:00:00"],
    ["ten decimals", "2020-01-01T00:00:00.0123456789Z"],
    ["a space", "2020-01-01 00:00:00Z"],
    ["a lower case", "2020-01-01t00:00:00z"],
    ["no text", 1],
  ])("a time with %s", (_, time) => {
    const json = JSON.stringify(time);
    const refused = `must be a time that exists, such as 2026-01-31T23:59:59.5Z, not ${json}`;
    expect(() => roundTrip(`{"time":${json}}`)).toThrow(`field test.Numbers.time ${refused}`);
    expect(() => roundTrip(`{"times":{"a":${json}}}`)).toThrow(`field test.Numbers.times ${refused}`);
  });

  it.each(["1", "1.s", ".5s", "1.0123456789s", "1 s", "1sec", "1s ", "+1s", "1e3s", "-s", "s", ""])(
    "the duration %j",
    (text) => {
      const refused = "field test.Numbers.duration must be seconds with up to nine decimals, such as 1.5s";
      expect(() => roundTrip(JSON.stringify({ duration: text }))).toThrow(refused);
    },
  );

  it.each([
    ["2020-02-29T23:59:59.999999999Z", "2020-02-29T23:59:59.999999999Z"],
    ["2000-02-29T00:00:00-00:00", "2000-02-29T00:00:00Z"],
    ["2020-01-01T00:30:00+23:59", "2019-12-31T00:31:00Z"],
    ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"],
  ])("but the time %s is %s", (given, shown) => {
    expect(roundTrip(`{"time":"${given}"}`)).toBe(`{"time":"${shown}"}`);
  });

  it.each(["-1.500s", "0s", "315576000000s", "0.000000001s"])(
    "but the duration %s is shown as it is",
    (text) => {
      expect(roundTrip(`{"duration":"${text}"}`)).toBe(`{"duration":"${text}"}`);
    },
  );

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
