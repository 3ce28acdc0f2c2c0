import * as fc from "fast-check";

/*
 * Random valid .proto files: optional parts appear now and then wherever they may, and names could be mistaken for
 * keywords.
 */

const NAMES = [
  "a",
  "foo_bar",
  "_lead",
  "trail_",
  "x9_y",
  "UPPER",
  "message",
  "group",
  "option",
  "stream",
  "reserved",
  "to",
  "max",
  "rpc",
  "map",
  "oneof",
  "extensions",
  "package",
  "syntax",
  "import",
  "__proto__",
  "constructor",
];
const SCALARS = [
  "double",
  "float",
  "int32",
  "int64",
  "uint32",
  "uint64",
  "sint32",
  "sint64",
  "fixed32",
  "fixed64",
  "sfixed32",
  "sfixed64",
  "bool",
  "string",
  "bytes",
];
const KEYS = SCALARS.filter((name) => !["double", "float", "bytes"].includes(name));

/** The three ways to write a file. */
export type Syntax = "proto2" | "proto3" | "2023";

interface Field {
  readonly name: string;
  readonly type: string;
  readonly key: string;
  readonly kind: "plain" | "repeated" | "map" | "group" | "oneof" | "optional" | "required";
  readonly number: number;
  readonly option: string;
}

interface Message {
  readonly fields: readonly Field[];
  readonly nested: readonly Message[];
  readonly values: readonly number[];
  readonly extras: readonly string[];
}

const option = fc.constantFrom(
  "",
  "deprecated = true",
  'json_name = "other"',
  "(fopt) = 'x' \"y\"",
  "(fmsg) = { a: 1, inner <s: 'z'> }",
  '(fmsg).inner.s = "q"',
  "(frep) = 1, (frep) = -2",
);
const field: fc.Arbitrary<Field> = fc.record({
  name: fc.constantFrom(...NAMES),
  type: fc.constantFrom(...SCALARS, "Own", ".P.Own", "Kind", "Own.Inner", "google.protobuf.Any"),
  key: fc.constantFrom(...KEYS),
  kind: fc.constantFrom("plain", "plain", "repeated", "map", "group", "oneof", "optional", "required"),
  number: fc.constantFrom(0, 0, 0, 100),
  option,
});
const extraLines = fc.array(
  fc.constantFrom(
    "option deprecated = true;",
    ";",
    "/* { */",
    "// }\n",
    'option (mopt) = { a: 2 b: [1, 2] inner: { s: "}" } };',
    "extensions 5000 to 5010, 6000;",
    "extensions 7000 to max;",
  ),
  { maxLength: 2 },
);

function messageWith(nested: fc.Arbitrary<Message[]>): fc.Arbitrary<Message> {
  return fc.record({
    fields: fc.array(field, { maxLength: 5 }),
    nested,
    values: fc.array(fc.integer({ min: -5, max: 50 }), { maxLength: 3 }),
    extras: extraLines,
  });
}

const leaf = messageWith(fc.constant([]));
const message = messageWith(fc.array(messageWith(fc.array(leaf, { maxLength: 1 })), { maxLength: 2 }));

/** A file in one of the syntaxes, as text with `P` as its package. */
export const protoFile = fc.record({
  syntax: fc.constantFrom<Syntax>("proto2", "proto3", "2023"),
  messages: fc.array(message, { minLength: 1, maxLength: 3 }),
  methods: fc.array(fc.tuple(fc.boolean(), fc.boolean(), fc.boolean()), { maxLength: 3 }),
});

/** The text of a file. */
export function textOf(
  { syntax, messages, methods }: typeof protoFile extends fc.Arbitrary<infer T> ? T : never,
  index: number,
): string {
  const bodies = messages.map((each, at) => messageText(`M${at}`, each, syntax));
  const label = syntax === "proto2" ? "optional " : "";
  const calls = methods.map(
    ([a, b, body], at) =>
      `  rpc R${at}(${a ? "stream " : ""}M0) returns (${b ? "stream .P." : ""}Own)${body ? " { option deprecated = true; }" : ";"}`,
  );
  const text = `${syntax === "2023" ? 'edition = "2023"' : `syntax = "${syntax}"`};
package P;
import "google/protobuf/any.proto"; import 'google/protobuf/descriptor.proto';
message Own { ${label}int32 a = 1; repeated int32 b = 2; ${label}Inner inner = 3; message Inner { ${label}string s = 1; } }
enum Kind { ZERO = 0; ONE = 1; }
extend google.protobuf.FieldOptions { ${label}string fopt = 50001; ${label}Own fmsg = 50002; repeated sint32 frep = 50003; }
extend google.protobuf.MessageOptions { ${label}Own mopt = 50001; }
${bodies.join("\n")}
service S {
${calls.join("\n")}
}
`;
  // All files share the numbers of options.
  return text.replaceAll(/\bP\b/g, `p${index}`).replaceAll(/\b5000(?=\d;)/g, String(5000 + index));
}

function messageText(name: string, { fields, nested, values, extras }: Message, syntax: Syntax): string {
  let number = 1;
  const lines = fields.map(({ number: jump, option: own, ...each }, index) => {
    number += jump + 2;
    const options = own === "" ? "" : ` [${own.replace("other", `other${index}`)}]`;
    return fieldText({ ...each, name: `${each.name}${index}` }, number, options, syntax);
  });
  const reserved = syntax === "2023" ? "reserved old, older;" : 'reserved "old", "older";';
  const numbers = [...new Set(values)];
  const constants = [
    `${name}_ZERO = 0;`,
    ...numbers.filter((value) => value !== 0).map((value, index) => `${name}_V${index} = ${value};`),
  ];
  const inner = nested.map((each, index) => messageText(`${name}N${index}`, each, syntax));
  // What may appear only once appears once.
  const once = [...new Set(extras)].filter((extra) => syntax !== "proto3" || !extra.startsWith("extensions"));
  const label = syntax === "proto2" ? "optional " : "";
  const use =
    syntax !== "proto3" && once.some((extra) => extra.startsWith("extensions 5000"))
      ? `extend ${name} { ${label}Own x = 5003; }`
      : "";
  return `message ${name} { ${reserved} reserved 4000, 4002 to 4005; ${once.join(" ")} ${inner.join(" ")}
  enum E${name} { ${constants.join(" ")} } ${use}
  ${lines.join("\n  ")} }`;
}

function fieldText(
  { name, type, key, kind }: Omit<Field, "number" | "option">,
  number: number,
  options: string,
  syntax: Syntax,
): string {
  const label = syntax === "proto2" ? "optional " : "";
  const plain = `${label}${type} ${name} = ${number}${options};`;
  switch (kind) {
    case "repeated":
      return `repeated ${type} ${name} = ${number}${options};`;
    case "map":
      return `map<${key}, ${type}> ${name} = ${number}${options};`;
    case "oneof":
      return `oneof o_${name} { ${type} ${name} = ${number}${options}; ${syntax === "proto2" ? `group G${number} = ${number + 1} { optional Own own = 1; }` : `bool z_${name} = ${number + 1};`} }`;
    case "group":
      if (syntax !== "proto2") return plain;
      return `repeated group G${number} = ${number}${options} { oneof o { string s = 1; } extensions 100 to max; message Deep {} optional Deep deep = 2; enum DE { DE_ZERO = 0; } }`;
    case "optional":
      return syntax === "2023" ? plain : `optional ${type} ${name} = ${number}${options};`;
    case "required":
      return syntax === "proto2" ? `required ${type} ${name} = ${number}${options};` : plain;
    case "plain":
      return plain;
  }
}
