/**
 * Prints the public surface of the package: every name that an entry exports, with its members and their types, from
 * the compiled declarations in dist/. CI compares it with `__test__/package/surface.txt`. Fails too if something optional
 * that users pass in may not be undefined.
 */

import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import ts from "typescript";
import { exactInputs } from "./inputs.mjs";
import { root, runMain, UserError } from "../toolchain.mjs";

const printer = ts.createPrinter({ removeComments: true });

const SNAPSHOT = path.join(root, "__test__/package/surface.txt");

await runMain(async () => {
  const { name, exports } = JSON.parse(await readFile(path.join(root, "package.json"), "utf8"));
  const entries = Object.entries(exports)
    .filter(([, target]) => typeof target === "object")
    .map(([entry, { types }]) => ({ specifier: path.posix.join(name, entry), file: path.join(root, types) }));
  const program = ts.createProgram(
    entries.map(({ file }) => file),
    {
      module: ts.ModuleKind.NodeNext,
      strict: true,
      exactOptionalPropertyTypes: true,
      types: ["node"],
      skipLibCheck: true,
    },
  );
  const printed = `${entries.map((entry) => printEntry(program, entry)).join("\n\n")}\n`;
  const exact = exactInputs(program, entries);
  if (exact.length > 0) {
    throw new UserError(
      `surface: add \`| undefined\` to what users may leave out, for exactOptionalPropertyTypes:\n${exact.join("\n")}`,
    );
  }
  if (process.argv.includes("--write")) {
    await writeFile(SNAPSHOT, printed);
    return;
  }
  if (printed === (await readFile(SNAPSHOT, "utf8"))) return;
  throw new UserError(
    "surface: the package's exports have changed. If this is intended, run `npm run surface -- --write` and commit " +
      "__test__/package/surface.txt, with a line in CHANGELOG.md.",
  );
});

function printEntry(program, { specifier, file }) {
  const checker = program.getTypeChecker();
  const source = program.getSourceFile(file);
  if (source === undefined)
    throw new UserError(`surface: ${file} does not exist; run \`npm run build:ts\` first`);
  const symbols = checker
    .getExportsOfModule(checker.getSymbolAtLocation(source))
    .toSorted((one, other) => (one.name < other.name ? -1 : 1));
  return [`## ${specifier}`, ...symbols.flatMap((symbol) => printExport(checker, symbol))].join("\n");
}

function printExport(checker, exported) {
  const isAlias = (exported.flags & ts.SymbolFlags.Alias) !== 0;
  const symbol = isAlias ? checker.getAliasedSymbol(exported) : exported;
  const [declaration] = symbol.declarations ?? [];
  const { fileName } = declaration.getSourceFile();
  // protoc-gen-es generates it from a .proto file, and other tests compare the two.
  if (fileName.includes("/generated/")) return [`message ${exported.name}`];
  return symbol.declarations.flatMap((each) => printDeclaration(exported.name, each));
}

function printDeclaration(name, declaration) {
  const source = declaration.getSourceFile();
  const text = (node) =>
    printer
      .printNode(ts.EmitHint.Unspecified, node, source)
      .replaceAll(/\s+/g, " ")
      .replaceAll("declare ", "");
  if (ts.isVariableDeclaration(declaration)) return [`const ${text(declaration)}`];
  if (!ts.isClassDeclaration(declaration) && !ts.isInterfaceDeclaration(declaration))
    return [text(declaration)];
  const members = declaration.members
    .filter((member) => isPublic(member))
    .map((member) => `  ${text(member)}`);
  const heritage = (declaration.heritageClauses ?? []).map((clause) => ` ${text(clause)}`).join("");
  const kind = ts.isClassDeclaration(declaration) ? "class" : "interface";
  return [`${kind} ${name}${heritage}`, ...members.toSorted()];
}

function isPublic(member) {
  if (member.name !== undefined && ts.isPrivateIdentifier(member.name)) return false;
  return !ts.getJSDocTags(member).some(({ tagName }) => tagName.text === "internal");
}
