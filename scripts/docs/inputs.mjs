import ts from "typescript";

/**
 * The optional properties of what users pass in, however deep, that may not be undefined: under
 * exactOptionalPropertyTypes a user could then not write `{ name: condition ? value : undefined }`. Each is a line
 * `Type.name`, with its file. What a function takes is an input, and so is what a callback returns.
 */
export function exactInputs(program, entries) {
  const checker = program.getTypeChecker();
  const seen = { in: new Set(), out: new Set() };
  const found = new Set();
  for (const { file } of entries) {
    const source = program.getSourceFile(file);
    for (const exported of checker.getExportsOfModule(checker.getSymbolAtLocation(source))) {
      const isAlias = (exported.flags & ts.SymbolFlags.Alias) !== 0;
      const symbol = isAlias ? checker.getAliasedSymbol(exported) : exported;
      const { flags } = symbol;
      if (flags & ts.SymbolFlags.Value) visit(checker.getTypeOfSymbol(symbol), "out");
      if (flags & ts.SymbolFlags.Class) visit(checker.getDeclaredTypeOfSymbol(symbol), "out");
      if (flags & ts.SymbolFlags.TypeAlias)
        for (const declaration of symbol.declarations) visitMapped(declaration);
      // A type that no function names is written for one that takes anything of its kind, as those of options are.
      if (flags & ts.SymbolFlags.Interface && /(?:Options|\wSpec|Handlers)$/.test(symbol.name))
        visit(checker.getDeclaredTypeOfSymbol(symbol), "in");
    }
  }
  return [...found].toSorted();

  function visit(type, way) {
    if (seen[way].has(type)) return;
    seen[way].add(type);
    if (type.isUnionOrIntersection()) {
      for (const part of type.types) visit(part, way);
      return;
    }
    if (!(type.flags & ts.TypeFlags.Object)) {
      const constraint = type.flags & ts.TypeFlags.TypeParameter && checker.getBaseConstraintOfType(type);
      if (constraint) visit(constraint, way);
      return;
    }
    for (const argument of type.aliasTypeArguments ?? []) visit(argument, way);
    for (const argument of checker.getTypeArguments(type)) visit(argument, way);
    const isClass = type.symbol?.flags & ts.SymbolFlags.Class;
    // An instance that is passed in was made here. Its methods are visited where the class is exported.
    if (isClass && way === "in") return;
    for (const signature of [...type.getCallSignatures(), ...type.getConstructSignatures()])
      visitSignature(signature, way);
    const index = checker.getIndexTypeOfType(type, ts.IndexKind.String);
    if (index) visit(index, way);
    if (!isOurs(type.symbol)) return;
    for (const property of type.getProperties()) {
      if (!isOurs(property) || isInternal(property)) continue;
      visit(checker.getTypeOfSymbol(property), way);
      if (way === "in" && property.flags & ts.SymbolFlags.Optional && !mayBeUndefined(property)) {
        const [declaration] = property.declarations;
        const owner = property.parent?.name ?? type.symbol.name;
        found.add(
          `${owner}.${property.name} (${declaration.getSourceFile().fileName.replace(/^.*\/dist\//, "")})`,
        );
      }
    }
  }

  /** A generic mapped type has no properties until it is used. */
  function visitMapped({ name, type }) {
    if (type === undefined || !ts.isMappedTypeNode(type) || type.questionToken === undefined) return;
    const parts = ts.isUnionTypeNode(type.type) ? type.type.types : [type.type];
    if (!parts.some(({ kind }) => kind === ts.SyntaxKind.UndefinedKeyword))
      found.add(`${name.text}, a mapped type`);
  }

  function visitSignature(signature, way) {
    const other = way === "in" ? "out" : "in";
    for (const parameter of signature.getParameters()) visit(checker.getTypeOfSymbol(parameter), other);
    visit(signature.getReturnType(), way);
  }

  function mayBeUndefined(property) {
    return property.declarations.some((declaration) => {
      if (!declaration.type || !ts.isPropertySignature(declaration)) return false;
      const type = checker.getTypeFromTypeNode(declaration.type);
      const parts = type.isUnion() ? type.types : [type];
      return parts.some((part) => part.flags & (ts.TypeFlags.Undefined | ts.TypeFlags.AnyOrUnknown));
    });
  }
}

/** Declared by this package, and not generated from a .proto file, whose messages are protobuf-es's. */
function isOurs(symbol) {
  const fileName = symbol?.declarations?.[0]?.getSourceFile().fileName ?? "";
  return (
    fileName.includes("/dist/") && !fileName.includes("/node_modules/") && !fileName.includes("/generated/")
  );
}

function isInternal(symbol) {
  return symbol.declarations.some(
    (declaration) => ts.getCombinedModifierFlags(declaration) & ts.ModifierFlags.Private,
  );
}
