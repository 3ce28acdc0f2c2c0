import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { FileDescriptorProto } from "@bufbuild/protobuf/wkt";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compile } from "../../src/cli/schema/proto.js";
import { temporaryPath } from "../helpers/temp.js";
import { bufBuild, comparable, filesOf, folderOf } from "./buf.js";
import { protoFile, textOf } from "./protos.js";
import { shimctl } from "./shimctl.js";

const ROOT = path.join(import.meta.dirname, "../..");
const FEATURES = path.join(import.meta.dirname, "protos/features");

/** Every folder of .proto files in the repository. */
const FOLDERS = [
  FEATURES,
  path.join(import.meta.dirname, "protos"),
  path.join(import.meta.dirname, "protos/numbers"),
  path.join(ROOT, "__test__/codec/protos"),
  path.join(ROOT, "proto"),
  path.join(ROOT, "examples/kata-agent"),
];

function protosIn(folder: string): string[] {
  return readdirSync(folder).filter((name) => name.endsWith(".proto"));
}

/** A folder with nothing but these .proto files, which buf treats as a module of its own. */
function moduleOf(folder: string): string {
  const copy = temporaryPath();
  mkdirSync(copy);
  for (const name of protosIn(folder)) cpSync(path.join(folder, name), path.join(copy, name));
  return copy;
}

function compiled(folder: string, name: string): FileDescriptorProto {
  const file = path.join(folder, name);
  const own = compile([file]).find((each) => path.basename(each.name) === name);
  if (own === undefined) throw new Error(`${file} was not compiled`);
  return own;
}

/** Compares each file of a folder, as compiled here and by buf. */
function expectLikeBuf(folder: string): number {
  const built = bufBuild(folder);
  if ("refused" in built) throw new Error([...built.refused].map(String).join("\n"));
  const files = filesOf(built.set);
  for (const file of files) {
    expect(comparable(compiled(folder, file.name), built.set)).toEqual(comparable(file, built.set));
  }
  return files.length;
}

describe("a .proto file is compiled as buf compiles it,", () => {
  it.each(FOLDERS.map((folder) => path.relative(ROOT, folder)))("in %s", (name) => {
    const folder = moduleOf(path.join(ROOT, name));
    expect(expectLikeBuf(folder)).toBe(protosIn(folder).length);
  });

  it.each([
    ["messages", "message A {", ""],
    ["groups", "message A {", "optional group G = 1 {"],
  ])("with %s nested as deep as buf takes, and no deeper", (_, first, next) => {
    const nested = (depth: number) =>
      `syntax = "proto2"; ${first}${(next || first).repeat(depth - 1)}${"}".repeat(depth)}`;
    const folder = folderOf({ "taken.proto": nested(31), "refused.proto": nested(32) });
    const built = bufBuild(folder);
    expect("refused" in built && [...built.refused.keys()]).toEqual(["refused.proto"]);
    expect(compiled(folder, "taken.proto").messageType).toHaveLength(1);
    expect(() => compiled(folder, "refused.proto")).toThrow("nested more than 31 levels deep");
  });

  it("whatever it contains", { timeout: 120_000 }, () => {
    fc.assert(
      fc.property(fc.array(protoFile, { minLength: 40, maxLength: 40 }), (files) => {
        const texts = files.map((file, index) => [`f${index}.proto`, textOf(file, index)]);
        expect(expectLikeBuf(folderOf(Object.fromEntries(texts) as Record<string, string>))).toBe(40);
      }),
      { numRuns: 5, endOnFailure: true },
    );
  });

  it(
    "or refused as buf refuses it, when a word is dropped, doubled or replaced",
    { timeout: 120_000 },
    () => {
      const sources = [FEATURES, path.join(ROOT, "__test__/codec/protos")].flatMap((folder) =>
        protosIn(folder).map((name) => readFileSync(path.join(folder, name), "utf8")),
      );
      // Each file is alone in its folder, so files with imports are left out.
      const alone = sources.filter((text) => !/^import (?:option )?"(?!google)/m.test(text));
      const change = fc.record({
        source: fc.constantFrom(...alone),
        at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        how: fc.constantFrom("drop", "twice", ";", "}", "message", "x", "[", "0", '"s"', "option"),
      });
      const seen = { accepted: 0, refused: 0 };
      fc.assert(
        fc.property(fc.array(change, { minLength: 60, maxLength: 60 }), (changes) => {
          const texts = new Map(
            changes.map(({ source, at, how }, index) => {
              const words = source.split(/(\s+|[{}[\]();=,<>])/).filter((word) => word !== "");
              // Changes come after the package, which keeps the files apart.
              const from = words.indexOf("package") + 4;
              const place = from + Math.floor(at * (words.length - from));
              const word = words[place]!;
              words[place] = how === "drop" ? "" : how === "twice" ? `${word} ${word}` : how;
              const text = words
                .join("")
                .replaceAll(/\bpackage [\w.]+;/g, (line) => line.replace(";", `${index};`));
              return [`f${index}.proto`, text];
            }),
          );
          compareChanged(texts, seen);
        }),
        { numRuns: 4, endOnFailure: true },
      );
      // Otherwise nothing was compared.
      expect(seen.accepted).toBeGreaterThan(5);
      expect(seen.refused).toBeGreaterThan(50);
    },
  );
});

/** Each file has a package of its own, so that an error in one does not affect the others. */
function compareChanged(
  texts: ReadonlyMap<string, string>,
  seen: { accepted: number; refused: number },
): void {
  const left = new Map(texts);
  for (;;) {
    const folder = folderOf(Object.fromEntries(left));
    const built = bufBuild(folder);
    if ("set" in built) {
      for (const file of filesOf(built.set)) {
        seen.accepted++;
        const text = texts.get(file.name);
        let own: FileDescriptorProto;
        try {
          own = compiled(folder, file.name);
        } catch (error) {
          throw new Error(`refused what buf accepts: ${(error as Error).message}\n${text}`, { cause: error });
        }
        expect(comparable(own, built.set), text).toEqual(comparable(file, built.set));
      }
      return;
    }
    for (const name of built.refused.keys()) {
      seen.refused++;
      left.delete(name);
    }
    if (left.size === 0) return;
  }
}

describe("a wrong .proto file is refused with file, line and column:", () => {
  const wrong = (text: string) => {
    const file = temporaryPath(".proto");
    writeFileSync(file, text);
    return file;
  };
  const two = 'syntax = "proto2";\n';
  const three = 'syntax = "proto3";\n';
  const edition = 'edition = "2023";\n';

  it.each([
    [
      "a word that does not belong there",
      `${three}message A {}\nservce B {}`,
      "line 3, column 1: expected a message",
    ],
    ["a service that does not end", `${three}service A {`, "line 2, column 12: expected"],
    ["an unknown edition", 'edition = "2199";', 'line 1, column 11: unknown edition "2199"'],
    ["an unknown syntax", 'syntax = "proto4";', 'line 1, column 10: unknown syntax "proto4"'],
    ["a comment that does not end", `${three}/* message A {}`, "line 2, column 1: the comment does not end"],
    ["a string that does not end", 'syntax = "proto3;\n', "line 1, column 10: the string does not end"],
    ["an invalid number", `${three}message A { int32 a = 0x; }`, "line 2, column 23"],
    [
      "a number that is too large",
      `${three}message A { int32 a = 536870912; }`,
      "must be from 1 to 536870911",
    ],
    ["a number that protobuf reserves", `${three}message A { int32 a = 19500; }`, "19000 to 19999"],
    [
      "a number twice",
      `${three}message A { int32 a = 1;\n int32 b = 1; }`,
      "line 3, column 8: b has the same number as a: 1",
    ],
    ...["../../etc/passwd", "a//b.proto"].map((name) => [
      `an import of ${JSON.stringify(name)}`,
      `${three}import "${name}";`,
      `line 2, column 8: ${JSON.stringify(name)} is no path below the import paths`,
    ]),
    ["a name twice", `${three}message A {}\nmessage A {}`, "line 3, column 9: A is declared twice"],
    [
      "a JSON name twice",
      `${three}message A { int32 a_b = 1; int32 aB = 2; }`,
      "aB has the same JSON name as a_b: aB",
    ],
    [
      "a reserved number",
      `${three}message A { reserved 5 to 7; int32 a = 6; }`,
      "the number 6 of a is reserved",
    ],
    ["a reserved name", `${edition}message A { reserved a; int32 a = 6; }`, "the name a is reserved"],
    [
      "a reserved name with quotes, in an edition",
      `${edition}message A { reserved "a"; }`,
      "names without quotes",
    ],
    ["a reserved name without quotes, elsewhere", `${three}message A { reserved a; }`, "names in quotes"],
    ["a group in proto3", `${three}message A { group G = 1 {} }`, "only proto2 has groups"],
    ["a group in an edition", `${edition}message A { repeated group G = 1 {} }`, "only proto2 has groups"],
    [
      "a field without a label in proto2",
      `${two}message A { int32 a = 1; }`,
      'expected "optional", "required", "repeated" or another declaration',
    ],
    [
      "a required field in proto3",
      `${three}message A { required int32 a = 1; }`,
      "a field of proto3 must not be required",
    ],
    ["a label in an edition", `${edition}message A { optional int32 a = 1; }`, "features.field_presence"],
    [
      "a map with a label",
      `${two}message A { optional map<string, string> a = 1; }`,
      "a map must not have a label",
    ],
    [
      "a map with keys of bytes",
      `${three}message A { map<bytes, string> a = 1; }`,
      "the keys of a map cannot be of type bytes",
    ],
    [
      "an option that does not exist",
      `${three}message A { int32 a = 1 [dprecated = true]; }`,
      "line 2, column 26: the option dprecated cannot be set",
    ],
    [
      "an option of another type",
      `${three}message A { option deprecated = 5; }`,
      "the option deprecated cannot be set",
    ],
    [
      "a custom option that does not exist",
      `${three}message A { option (b) = 5; }`,
      "line 2, column 21: there is no option (b)",
    ],
    ["a default in proto3", `${three}message A { int32 a = 1 [default = 1]; }`, "the default of a does not"],
    [
      "a default of another type",
      `${two}message A { optional int32 a = 1 [default = "x"]; }`,
      "the default of a does not fit its type",
    ],
    [
      "an extension outside the extension ranges",
      `${two}message A { extensions 5; }\nextend A { optional int32 a = 6; }`,
      "line 3, column 27: A does not allow an extension with the number 6",
    ],
    [
      "a method of an enum",
      `${three}enum E { A = 0; }\nservice S { rpc M(E) returns (E); }`,
      "line 3, column 19: no such Type 'E'",
    ],
    ["a first value that is not 0", `${three}enum E { A = 1; }`, "must be 0 in proto3"],
    [
      "messages that are nested too deep",
      three + "message A {".repeat(20_000),
      "line 2, column 352: messages are nested more than 31 levels deep",
    ],
    [
      "a value twice without allow_alias",
      `${three}enum E { A = 0; B = 0; }`,
      "B has the same number as A: 0",
    ],
  ])("%s", async (_, text, said) => {
    const file = wrong(text);
    const { code, stdout, stderr } = await shimctl(["describe", "--proto", file]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(`shimctl: ${file}, line `);
    expect(stderr).toContain(said);
  });
});
