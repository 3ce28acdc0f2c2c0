/**
 * Writes the reference documentation of all entries of the package to artifacts/docs. A warning is an error.
 */

import { readFile } from "node:fs/promises";
import path from "node:path";
import { Application, OptionDefaults, ReflectionKind } from "typedoc";
import { root, runMain, UserError } from "../toolchain.mjs";

await runMain(async () => {
  const { exports } = JSON.parse(await readFile(path.join(root, "package.json"), "utf8"));
  const entryPoints = Object.values(exports)
    .filter((target) => typeof target === "object")
    .map(({ default: file }) => path.join(root, file.replace(/^\.\/dist\//, "src/").replace(/\.js$/, ".ts")));
  const app = await Application.bootstrap({
    name: "containerd-shim-protos",
    entryPoints,
    tsconfig: path.join(root, "scripts/docs/tsconfig.json"),
    basePath: path.join(root, "src"),
    displayBasePath: path.join(root, "src"),
    readme: path.join(root, "README.md"),
    projectDocuments: [path.join(root, "docs/*.md")],
    // What protoc-gen-es writes above all that it makes; it names the field in the .proto file.
    blockTags: [...OptionDefaults.blockTags, "@generated"],
    excludeInternal: true,
    excludePrivate: true,
    disableSources: true,
    // Types that are only there to compute others.
    intentionallyNotExported: ["ClientMethod", "MethodImpl", "MaybePromise", "DRIVERS", "EventOwner"],
    treatWarningsAsErrors: true,
    // Links of the guides lead to folders of the repository too; __test__/docs follows them.
    validation: { notDocumented: true, invalidPath: false },
  });
  const project = await app.convert();
  if (project === undefined) throw new UserError("docs: TypeDoc could not read the sources.");
  app.options.setValue("intentionallyNotDocumented", [
    // Said once, by the type's own comment.
    "index.Address.__type.fd",
    "index.RawMethod.__type.kind",
    "index.RawMethod.__type.handle",
    ...undocumentedByGenerator(project),
  ]);
  app.validate(project);
  if (app.logger.hasErrors() || app.logger.hasWarnings()) {
    throw new UserError("docs: nothing was written, because of the warnings above.");
  }
  const output = path.join(root, "artifacts/docs");
  await app.generateDocs(project, output);
  if (app.logger.hasErrors() || app.logger.hasWarnings())
    throw new UserError("docs: see the warnings above.");
  console.log(`docs: ${path.relative(root, output)}/index.html`);
});

/** What protoc-gen-es writes no comment for: the insides of services and oneofs. */
function undocumentedByGenerator(project) {
  const names = project
    .getReflectionsByKind(ReflectionKind.Property)
    .filter((reflection) => {
      const { packagePath = "" } = project.getSymbolIdFromReflection(reflection) ?? {};
      return packagePath.startsWith("src/generated/") && !reflection.hasComment();
    })
    .map((reflection) => reflection.getFriendlyFullName());
  return [...new Set(names)];
}
