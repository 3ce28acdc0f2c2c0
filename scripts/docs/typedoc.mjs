/** Writes the reference documentation of all entries of the package to artifacts/docs. A warning is an error. */

import { readFile } from "node:fs/promises";
import path from "node:path";
import { Application, Converter, OptionDefaults, ReflectionKind } from "typedoc";
import { root, runMain, UserError } from "../toolchain.mjs";

await runMain(async () => {
  const { name, exports } = JSON.parse(await readFile(path.join(root, "package.json"), "utf8"));
  const entries = Object.entries(exports)
    .filter(([, target]) => typeof target === "object")
    .map(([entry, target]) => ({
      source: target.default.replace(/^\.\/dist\//, "src/").replace(/\.js$/, ""),
      specifier: path.posix.join(name, entry),
    }));
  const app = await Application.bootstrap({
    name,
    entryPoints: entries.map(({ source }) => path.join(root, `${source}.ts`)),
    tsconfig: path.join(root, "scripts/docs/tsconfig.json"),
    basePath: root,
    displayBasePath: root,
    readme: path.join(root, "README.md"),
    projectDocuments: [path.join(root, "docs/*.md")],
    // protoc-gen-es writes this tag above everything that it generates; it names the field in the .proto file.
    blockTags: [...OptionDefaults.blockTags, "@generated"],
    highlightLanguages: [...OptionDefaults.highlightLanguages, "proto"],
    excludeInternal: true,
    excludePrivate: true,
    disableSources: true,
    // Types that only compute other types.
    intentionallyNotExported: ["ClientMethod", "MethodImpl", "MaybePromise"],
    treatWarningsAsErrors: true,
    // The guides also link to folders of the repository; __test__/docs checks those links.
    validation: { notDocumented: true, invalidPath: false },
  });
  // Entries and guides get the names that readers know, in place of their paths.
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const entry of project.children ?? []) {
      const found = entries.find(
        ({ source }) => source.replace(/\/index$/, "") === entry.name.replace(/\/index$/, ""),
      );
      entry.name = found?.specifier ?? entry.name;
    }
    for (const guide of project.documents ?? []) guide.name = guide.name.replace(/^docs\//, "");
  });
  const project = await app.convert();
  if (project === undefined) throw new UserError("docs: TypeDoc could not read the sources.");
  app.options.setValue("intentionallyNotDocumented", [
    // Documented once, by the type's own comment.
    "containerd-shim-protos.Address.__type.fd",
    "containerd-shim-protos.RawMethod.__type.kind",
    "containerd-shim-protos.RawMethod.__type.handle",
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

/** Names for which protoc-gen-es writes no comment: the insides of services and oneofs. */
function undocumentedByGenerator(project) {
  const names = project
    .getReflectionsByKind(ReflectionKind.Property)
    .filter((reflection) => {
      const { packagePath = "" } = project.getSymbolIdFromReflection(reflection) ?? {};
      return packagePath.startsWith("src/protos/generated/") && !reflection.hasComment();
    })
    .map((reflection) => reflection.getFriendlyFullName());
  return [...new Set(names)];
}
