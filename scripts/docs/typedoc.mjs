/**
 * Writes the reference documentation of all entries of the package to artifacts/docs. A warning is an error.
 */

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
      // The package's name is already at the top of every page.
      title: entry === "." ? "index" : entry.replace(/^\.\//, ""),
    }));
  const app = await Application.bootstrap({
    name,
    entryPoints: entries.map(({ source }) => path.join(root, `${source}.ts`)),
    tsconfig: path.join(root, "scripts/docs/tsconfig.json"),
    basePath: root,
    displayBasePath: root,
    readme: path.join(root, "README.md"),
    projectDocuments: [path.join(root, "docs/*.md")],
    // protoc-gen-es writes this above everything it generates; it names the field in the .proto file.
    blockTags: [...OptionDefaults.blockTags, "@generated"],
    highlightLanguages: [...OptionDefaults.highlightLanguages, "proto", "toml"],
    excludeInternal: true,
    excludePrivate: true,
    disableSources: true,
    navigation: { includeFolders: false },
    // Types that only compute other types.
    intentionallyNotExported: ["ClientMethod", "ClientName", "MethodImpl", "MaybePromise"],
    treatWarningsAsErrors: true,
    // The guides also link to folders of the repository; __test__/docs checks those links.
    validation: { notDocumented: true, invalidPath: false },
  });
  const readme = await readFile(path.join(root, "README.md"), "utf8");
  const [, index = ""] = readme.split("## Documentation\n");
  const order = [...index.matchAll(/\]\(docs\/([\w-]+)\.md\)/g)].map(([, guide]) => guide);
  const guides = new Map();
  for (const guide of new Set(order)) {
    const [, title] = /^# (.*)$/m.exec(await readFile(path.join(root, "docs", `${guide}.md`), "utf8")) ?? [];
    guides.set(guide, title);
  }
  // Entries and guides get the names that readers know instead of their paths.
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const entry of project.children ?? []) {
      const found = entries.find(
        ({ source }) => source.replace(/\/index$/, "") === entry.name.replace(/\/index$/, ""),
      );
      entry.name = found?.title ?? entry.name;
    }
    for (const guide of project.documents ?? []) {
      const file = guide.name.replace(/^docs\//, "");
      guide.name = guides.get(file) ?? file;
    }
    // Its first heading is the package's name, which is the title of the page.
    const [text] = project.readme ?? [];
    if (text !== undefined) text.text = text.text.replace(/^# .*\n/, "");
  });
  // Guides come first, in the order of the README; then entries, in the order of package.json. TypeDoc sorts both at a
  // higher priority.
  const names = [...guides.values(), ...entries.map(({ title }) => title)];
  const inOrder = (one, other) => names.indexOf(one.name) - names.indexOf(other.name);
  const reorder = ({ project }) => {
    const lists = [project.documents, project.children, project.childrenIncludingDocuments];
    for (const list of [...lists, ...(project.groups ?? []).map(({ children }) => children)])
      list?.sort(inOrder);
  };
  app.converter.on(Converter.EVENT_RESOLVE_END, reorder, -1000);
  const project = await app.convert();
  if (project === undefined) throw new UserError("docs: TypeDoc could not read the sources.");
  app.options.setValue("intentionallyNotDocumented", [
    // Documented once, by the type's own comment.
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

/** Names without comments by protoc-gen-es: the insides of services and oneofs. */
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
