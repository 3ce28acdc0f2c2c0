/**
 * Writes src/protos/generated/: the TypeScript of every message and service, from the .proto files in the pinned
 * containerd-shim-protos crates and in proto/.
 *
 * Each .proto file is staged in the folder that its package names (`containerd.task.v3` becomes containerd/task/v3/),
 * wherever the crate has it, so that the generated tree is short and predictable.
 *
 * Examples with their own .proto files get a folder gen/, as `npx buf generate` makes it.
 */

import { execFile } from "node:child_process";
import { access, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";

import { createFileDescriptorProtoBoot } from "@bufbuild/protobuf/codegenv2";
import { file_google_protobuf_descriptor } from "@bufbuild/protobuf/wkt";
import { cargo, cargoProblem, indent, root, runMain, UserError } from "./toolchain.mjs";

const run = promisify(execFile);

const BIN = path.join(root, "node_modules", ".bin");

const OUTPUT = path.join(root, "src", "protos", "generated");

/** The include folders of the crate's build script, in its order: the first one with the imported file wins. */
const INCLUDES = ["github.com/containerd/containerd/api/", ""];

/** Parts of the crate's vendor/ folder that are left out. */
const EXCLUDED = [
  // protobuf-es includes the well-known types.
  "google/",
  // A second copy of cgroups/v3/cgroup1's messages, with options that only Go's code generator reads.
  "github.com/containerd/cgroups/stats/v1/",
  // Declares those options; nothing else imports it.
  "gogoproto/",
];

/** The examples with a buf.gen.yaml. */
const EXAMPLES = ["examples/kata-agent"];

/** The only file taken from crate 0.11: version 0.12 replaced it with task v3, and kept the files that it imports. */
const TASK_V2 = "github.com/containerd/containerd/api/runtime/task/v2/shim.proto";

await runMain(async () => {
  const crates = await locateCrates();
  const vendor = path.join(crates.current, "vendor");
  const protos = [
    ...(await readProtos(vendor, (name) => !EXCLUDED.some((folder) => name.startsWith(folder)))),
    ...(await readProtos(path.join(crates.taskV2, "vendor"), (name) => name === TASK_V2)),
    ...(await readProtos(path.join(root, "proto"), () => true)),
  ];

  const staging = await mkdtemp(path.join(tmpdir(), "containerd-shim-protos-"));
  // Next to the folder that it replaces, because a rename cannot cross file systems.
  const output = await mkdtemp(path.join(root, "src", "protos", ".generated-"));
  try {
    await stage(protos, path.join(staging, "protos"));
    await runBuf(path.join(staging, "protos"), output, path.join(staging, "cache"));
    await useOwnDescriptors(path.join(output, "generated"));
    await writeDescriptorBoot(path.join(output, "generated", "google", "protobuf"));
    await replaceFolder(OUTPUT, path.join(output, "generated"), path.join(output, "old"));
    for (const example of EXAMPLES)
      await buf(["generate"], path.join(root, example), path.join(staging, "cache"));
  } finally {
    await Promise.all([staging, output].map((folder) => rm(folder, { recursive: true, force: true })));
  }
});

/** Finds the folders of the two crates that contain the .proto files. */
async function locateCrates() {
  // The filter keeps cargo from downloading the crates that only other systems need.
  const filter = ["--filter-platform", "x86_64-unknown-linux-gnu"];
  const metadata = JSON.parse(
    await run(cargo, ["metadata", "--format-version", "1", "--locked", ...filter], {
      cwd: root,
      maxBuffer: Infinity,
    }).then(
      ({ stdout }) => stdout,
      async (error) => {
        const problem = await cargoProblem(
          "to find the crates whose .proto files the TypeScript is made from",
        );
        throw new UserError(
          problem ??
            `"cargo metadata" failed; the first time, it needs the network.\n${indent(error.stderr)}`,
        );
      },
    ),
  );
  const { deps } = metadata.resolve.nodes.find(({ id }) => id === metadata.resolve.root);
  const locate = (dependency) => {
    const id = deps.find(({ name }) => name === dependency)?.pkg;
    if (id === undefined)
      throw new UserError(`Cargo.toml has no dependency ${dependency} to take .proto files from.`);
    return path.dirname(metadata.packages.find((candidate) => candidate.id === id).manifest_path);
  };
  return { current: locate("containerd_shim_protos"), taskV2: locate("containerd_shim_protos_v2") };
}

/** Reads a folder's .proto files whose relative names pass the filter. */
async function readProtos(folder, filter) {
  const names = (await readdir(folder, { recursive: true }))
    .filter((name) => name.endsWith(".proto") && filter(name))
    .toSorted();
  if (names.length === 0) throw new UserError(`${folder} has none of the .proto files expected there.`);
  return Promise.all(
    names.map(async (name) => {
      const text = await readFile(path.join(folder, name), "utf8");
      const packageName = /^package\s+([\w.]+)\s*;/m.exec(text)?.[1];
      if (packageName === undefined) throw new UserError(`${path.join(folder, name)} declares no package.`);
      return { name, text, target: `${packageName.replaceAll(".", "/")}/${path.basename(name)}` };
    }),
  );
}

/** Writes the .proto files to their targets, with their imports rewritten to match. */
async function stage(protos, folder) {
  const targets = new Map(protos.map(({ name, target }) => [name, target]));
  if (new Set(targets.values()).size !== protos.length) {
    throw new UserError(
      `Two .proto files would be staged as one:\n${indent([...targets.values()].join("\n"))}`,
    );
  }
  await Promise.all(
    protos.map(async ({ name, text, target }) => {
      const rewritten = text.replaceAll(
        /^(import\s+(?:public\s+|weak\s+)?)"([^"]+)"/gm,
        (line, keyword, imported) => {
          if (imported.startsWith("google/protobuf/")) return line;
          const found = INCLUDES.map((include) => targets.get(include + imported)).find(Boolean);
          if (found === undefined)
            throw new UserError(`${name} imports ${imported}, which is not among the files.`);
          return `${keyword}"${found}"`;
        },
      );
      const file = path.join(folder, target);
      await mkdir(path.dirname(file), { recursive: true });
      await writeFile(file, rewritten);
    }),
  );
}

/** Generates TypeScript from the staged files, into the folder "generated" of the output folder. */
async function runBuf(protos, output, cache) {
  const plugin = path.join(BIN, "protoc-gen-es");
  await Promise.all(
    [path.join(BIN, "buf"), plugin].map((file) =>
      access(file).catch(() => {
        throw new UserError(`${file} is missing: install the development dependencies with \`npm ci\`.`);
      }),
    ),
  );
  const template = {
    version: "v2",
    plugins: [
      {
        local: plugin,
        out: path.join(output, "generated"),
        opt: ["target=ts", "import_extension=js"],
        // One run of the plugin rather than one for each folder.
        strategy: "all",
      },
    ],
  };
  await buf(["generate", protos, "--template", JSON.stringify(template)], protos, cache);
}

/** Makes generated code take its descriptors from src/descriptors, which loads without protobuf-es. */
async function useOwnDescriptors(folder) {
  const sources = { codegenv2: "file.js", wkt: "well-known.js" };
  const files = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith("_pb.ts"));
  await Promise.all(
    files.map(async (name) => {
      const file = path.join(folder, name);
      const up = path.relative(path.dirname(name), ".") || ".";
      const text = await readFile(file, "utf8");
      const rewritten = text.replaceAll(
        /^(import \{ .* \} from )"@bufbuild\/protobuf\/(codegenv2|wkt)";$/gm,
        (_, imported, entry) => `${imported}"${up}/../../descriptors/${sources[entry]}";`,
      );
      await writeFile(file, rewritten);
    }),
  );
}

/**
 * Writes what protobuf-es makes the descriptor of descriptor.proto from, as text. Its own module makes the descriptor when it
 * is evaluated, which for a bundle is at each start.
 */
async function writeDescriptorBoot(folder) {
  const boot = createFileDescriptorProtoBoot(file_google_protobuf_descriptor.proto);
  const text = JSON.stringify(JSON.stringify(boot));
  await mkdir(folder, { recursive: true });
  await writeFile(
    path.join(folder, "descriptor_boot.ts"),
    `// @generated from google/protobuf/descriptor.proto, as protobuf-es has it\n\nexport const descriptorBoot = (): string => ${text};\n`,
  );
}

/** Runs buf, without a buf.yaml and with its own cache, so that it needs neither the network nor the home folder. */
async function buf(args, cwd, cache) {
  const searched = [BIN, process.env.PATH].join(path.delimiter);
  try {
    await run(path.join(BIN, "buf"), args, {
      cwd,
      env: { ...process.env, PATH: searched, BUF_CACHE_DIR: cache },
    });
  } catch (error) {
    throw new UserError(`"buf generate" failed in ${cwd}.\n${indent(error.stderr || error.message)}`);
  }
}

/** Replaces a folder with a finished one. The old folder stays complete until then. */
async function replaceFolder(target, replacement, old) {
  await rename(target, old).catch(ignore("ENOENT"));
  try {
    await rename(replacement, target);
  } catch (error) {
    // Another run finished at the same moment, and its folder is just as good.
    if (error.code === "ENOTEMPTY" || error.code === "EEXIST") return;
    await rename(old, target).catch(ignore("ENOENT"));
    throw error;
  }
}

/** Makes a rejection handler that ignores one system error. */
function ignore(code) {
  return (error) => {
    if (error.code !== code) throw error;
  };
}
