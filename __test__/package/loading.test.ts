import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";

const NAME = "containerd-shim-protos";

/**
 * The files that a process parses to run a program, in its order: those of the package by their path in dist, and all
 * others whole. The debugger is told of each, whether it was imported or required.
 */
async function filesOf(program: string, ...options: string[]): Promise<string[]> {
  const script = `
    import { Session } from "node:inspector";
    const session = new Session();
    session.connect();
    const files = [];
    session.on("Debugger.scriptParsed", ({ params: { url } }) => files.push(url));
    session.post("Debugger.enable");
    files.length = 0;
    await (async () => { ${program} })();
    console.log(JSON.stringify(files));
    process.exit(0);`;
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...options,
    "--input-type=module",
    "--eval",
    script,
  ]);
  const parsed = JSON.parse(stdout) as string[];
  const files = parsed.filter((url) => url !== "" && !url.startsWith("node:"));
  return files.map((url) => url.replace(/^.*\/dist\/(?!esm\/|cjs\/)/, ""));
}

/** What is not for clients, and protobuf-es. */
const STRANGE = /cli\/|otel\/|shim\/|serve|protobuf\/dist/;

describe("a client of tasks", () => {
  it("loads these files, and no others", async () => {
    const files = await filesOf(`
      await import("${NAME}");
      await import("${NAME}/task/v3");`);
    expect(files.toSorted()).toEqual([
      "chunks/containerd-task-v3-shim_pb.js",
      "chunks/containerd-types-mount_pb.js",
      "chunks/containerd-v1-types-task_pb.js",
      "chunks/core.js",
      "chunks/rolldown-runtime.js",
      "index.js",
      "protobuf/on-demand.js",
      "protos/task/v3.js",
    ]);
  });

  it("loads nothing more to serve, to make calls, and to fail", async () => {
    const files = await filesOf(`
      const { connect, createClient, createServer, Code } = await import("${NAME}");
      const { Task } = await import("${NAME}/task/v3");
      files.length = 0;
      const server = createServer();
      server.add(Task, { state: ({ id }) => ({ id, exitedAt: { seconds: 1n, nanos: 2 } }) });
      const address = await server.listen("unix://@loading-" + process.pid);
      const task = createClient(Task, await connect(address));
      const { exitedAt } = await task.state({ id: "web" });
      if (exitedAt.seconds !== 1n) throw new Error("wrong");
      const { code } = await task.pids({ id: "web" }).catch((error) => error);
      if (code !== Code.Unimplemented) throw new Error("wrong");`);
    expect(files).toEqual([]);
  });

  it("loads nothing more to say what is wrong with bytes and with a message", async () => {
    const files = await filesOf(`
      const { packAny, unpackAny } = await import("${NAME}");
      const { StateRequestSchema } = await import("${NAME}/task/v3");
      files.length = 0;
      try {
        unpackAny({ typeUrl: StateRequestSchema.typeName, value: Uint8Array.of(255) }, StateRequestSchema);
        throw new Error("it decoded");
      } catch (error) {
        if (!error.message.startsWith("cannot decode")) throw error;
      }
      try {
        packAny(StateRequestSchema, { id: 5 });
        throw new Error("it encoded");
      } catch (error) {
        if (!error.message.includes("id must be a string")) throw error;
      }`);
    expect(files).toEqual([]);
  });

  /** A program with a message that only protobuf-es writes. */
  const needing = `
    const { packAny } = await import("${NAME}");
    const { StateRequestSchema } = await import("${NAME}/task/v3");
    files.length = 0;
    const message = Object.assign(Object.create(null), { $typeName: StateRequestSchema.typeName, id: "web" });
    if (packAny(StateRequestSchema, message).value.length !== 5) throw new Error("wrong");`;

  it("loads protobuf-es for a message that only that writes, once, and as programs import it", async () => {
    const files = await filesOf(`${needing}\nawait import("@bufbuild/protobuf");`);
    const entries = files.filter((file) => file.endsWith("/protobuf/dist/esm/index.js"));
    expect(entries).toHaveLength(1);
    expect(files.filter((file) => file.includes("/dist/cjs/"))).toEqual([]);
  });

  /** What Yarn's Plug'n'Play does: files in its archives can be imported, and required if they are CommonJS. */
  const archived = `
    import { createRequire } from "node:module";
    const { _extensions: extensions } = createRequire("/")("node:module");
    const load = extensions[".js"];
    extensions[".js"] = (module, file) => {
      if (!file.includes("/protobuf/dist/esm/")) return load(module, file);
      throw Object.assign(new Error("Cannot find module"), { code: "ERR_MODULE_NOT_FOUND" });
    };`;

  it.each([
    ["does not require ES modules", "--no-experimental-require-module"],
    [
      "cannot require them out of an archive",
      `--import=data:text/javascript,${encodeURIComponent(archived)}`,
    ],
  ])("loads protobuf-es as CommonJS where Node %s", async (_, option) => {
    const files = await filesOf(needing, option);
    expect(files.filter((file) => file.endsWith("/protobuf/dist/cjs/index.js"))).toHaveLength(1);
  });
});

it("a client of events loads no more than fourteen files, and neither protobuf-es nor a shim's", async () => {
  const files = await filesOf(`
    await import("${NAME}");
    await import("${NAME}/events");`);
  expect(files.length).toBeLessThanOrEqual(14);
  expect(files.filter((file) => STRANGE.test(file.replace("protobuf/on-demand.js", "")))).toEqual([]);
});
