/**
 * Bundles the library, src without src/cli, into a file for each entry and a few that entries share: Node takes longer to
 * find and link a hundred modules than to compile them. No module is in two files, so all entries share one copy of each.
 * @bufbuild/protobuf stays outside, so that programs and this package share it too. Of the types, which the compiler wrote
 * before, those stay that an entry reaches.
 */

import { readdir, readFile, rm } from "node:fs/promises";
import path from "node:path";
import { rolldown } from "rolldown";
import { root, runMain } from "./toolchain.mjs";

/** Modules besides the package's entries that benches, tests and the bundle itself import by their path in dist. */
const INSIDE = [
  "codec/codec",
  "native/addon",
  "native/load",
  "native/slots",
  "protobuf/bundled",
  "protobuf/on-demand",
  "shim/children",
  "shim/log",
];

/** The modules outside of src/cli that shimctl imports: its bundle finds them in dist. */
async function importedByShimctl() {
  const source = path.join(root, "src", "cli");
  const files = (await readdir(source, { recursive: true })).filter((name) => name.endsWith(".ts"));
  const texts = await Promise.all(files.map((name) => readFile(path.join(source, name), "utf8")));
  const found = texts.flatMap((text, index) =>
    [...text.matchAll(/^(?:import (?!type )|export |\} from ).*"(\.\.?\/[^"]+)\.js";$/gm)].map(
      ([, specifier]) =>
        path.relative(path.join(root, "src"), path.join(source, path.dirname(files[index]), specifier)),
    ),
  );
  return found.filter((name) => !name.startsWith("cli/"));
}

/** Folders of src with what not every client and server runs. */
const OTHERS = new Set(["cli", "events", "nri", "otel", "protos", "protobuf", "shim", "shims", ".."]);

/**
 * Whether a module is in the file that everything loads. The addon is found two folders above that, as above src/native. The
 * package's main entry is not in it, because that loads the addon, and programs that only use messages do without one.
 */
function isCore(file) {
  // The bundler's own helpers.
  if (file.startsWith("\0")) return true;
  const name = path.relative(path.join(root, "src"), file);
  return name !== "index.ts" && !OTHERS.has(name.split(path.sep)[0]);
}

/** Names a shared file after one of its modules, with its folders: several modules have the same name without them. */
function nameOf({ name, moduleIds }) {
  const last = moduleIds.at(-1);
  if (name === "core" || last === undefined || last.startsWith("\0")) return `chunks/${name}.js`;
  const module = path.relative(path.join(root, "src"), last).replaceAll(/^protos\/generated\/|\.ts$/g, "");
  return `chunks/${module.replaceAll("/", "-")}.js`;
}

/** The declarations that a file consists of: its own, and those that it imports. */
async function reachedTypes(file, reached = new Set()) {
  if (reached.has(file)) return reached;
  reached.add(file);
  // Comments have examples, which import files of the user's.
  const text = (await readFile(file, "utf8")).replaceAll(/^ *\/?\*.*$/gm, "");
  for (const [, specifier] of text.matchAll(/(?:from |import\()"(\.{1,2}\/[^"]+)\.js"/g)) {
    await reachedTypes(path.join(path.dirname(file), `${specifier}.d.ts`), reached);
  }
  return reached;
}

await runMain(async () => {
  const { exports, imports } = JSON.parse(await readFile(path.join(root, "package.json"), "utf8"));
  const entries = Object.values(exports)
    .map((entry) => /^\.\/dist\/(.*)\.js$/.exec(entry.default ?? "")?.[1])
    .filter((name) => name !== undefined);
  const dist = path.join(root, "dist");
  const types = new Set();
  for (const { types: file } of [...Object.values(exports), ...Object.values(imports)]) {
    if (file !== undefined) await reachedTypes(path.join(root, file), types);
  }
  // Files of an earlier build, which may be of modules that are in other files now, and types that no entry reaches.
  const old = (await readdir(dist, { recursive: true }))
    .map((name) => path.join(dist, name))
    .filter((file) => /\.js(?:\.map)?$/.test(file) || (file.endsWith(".d.ts") && !types.has(file)));
  await Promise.all(old.map((file) => rm(file)));
  const bundle = await rolldown({
    cwd: root,
    input: Object.fromEntries(
      [...entries, ...INSIDE, ...(await importedByShimctl())].map((name) => [
        name,
        path.join("src", `${name}.ts`),
      ]),
    ),
    platform: "node",
    external: [/^@bufbuild\/protobuf/, /^@connectrpc\//, "@opentelemetry/api", "#protobuf"],
    // Some calls are there for what they throw: Array.isArray, of a revoked Proxy.
    treeshake: false,
    tsconfig: path.join(root, "tsconfig.build.json"),
  });
  try {
    await bundle.write({
      dir: dist,
      format: "esm",
      sourcemap: true,
      entryFileNames: "[name].js",
      chunkFileNames: nameOf,
      // Lines and names stay, for people who read stacks.
      comments: false,
      minify: false,
      codeSplitting: {
        groups: [{ name: "core", test: isCore }],
      },
    });
  } finally {
    await bundle.close();
  }
});
