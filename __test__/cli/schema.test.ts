import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { create, createFileRegistry, fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { beforeAll, describe, expect, it } from "vitest";
import { temporaryPath } from "../helpers/temp.js";
import { needsTerminal, noTerminal, onTerminal, shimctl, visible } from "./shimctl.js";

const ROOT = path.join(import.meta.dirname, "../..");
const CODEC_PROTOS = path.join(ROOT, "__test__/codec/protos");
const PROTOS = path.join(import.meta.dirname, "protos");

describe("shimctl describe", () => {
  it("prints every service of the package", async () => {
    const { code, stdout } = await shimctl(["describe"]);
    expect(code).toBe(0);
    await expect(stdout).toMatchFileSnapshot("golden/describe.txt");
  });

  it("prints a method with its messages", async () => {
    const { code, stdout } = await shimctl(["describe", "containerd.task.v3.Task/Create"]);
    expect(code).toBe(0);
    await expect(stdout).toMatchFileSnapshot("golden/describe-method.txt");
  });

  it("prints a message with oneofs, maps and nested types, and an enum", async () => {
    const args = ["--proto", path.join(PROTOS, "editions.proto")];
    const message = await shimctl(["describe", "test.Everything", ...args]);
    await expect(message.stdout).toMatchFileSnapshot("golden/describe-message.txt");
    const { stdout } = await shimctl(["describe", "containerd.v1.types.Status"]);
    expect(stdout).toContain("enum containerd.v1.types.Status {\n  UNKNOWN = 0;\n");
  });

  it.skipIf(noTerminal)(`has colour on a terminal${needsTerminal}`, async () => {
    const { stdout } = await onTerminal(["describe", "containerd.task.v3.ConnectRequest"]);
    expect(visible(stdout)).toBe(
      "␛[35mmessage␛[39m ␛[1mcontainerd.task.v3.ConnectRequest␛[22m {\n" +
        "  ␛[35mstring␛[39m ␛[1mid␛[22m = 1;\n}\n",
    );
  });

  it("accepts the last parts of a name if they are unique", async () => {
    const full = await shimctl(["describe", "containerd.task.v3.Task/Connect"]);
    expect(await shimctl(["describe", "v3.Task/Connect"])).toEqual(full);
  });
});

describe("--proto describes every message as buf does,", () => {
  /** Every feature of the three syntaxes, as one file each. */
  let folder: string;
  let set: string;

  beforeAll(() => {
    folder = temporaryPath();
    mkdirSync(folder);
    for (const name of ["two", "three", "editions"]) {
      cpSync(path.join(CODEC_PROTOS, `${name}.proto`), path.join(folder, `${name}.proto`));
    }
    for (const name of ["streaming", "streams"]) {
      cpSync(path.join(PROTOS, `${name}.proto`), path.join(folder, `${name}.proto`));
    }
    set = temporaryPath(".binpb");
    const buf = path.join(ROOT, "node_modules/.bin/buf");
    execFileSync(buf, ["build", ".", "--as-file-descriptor-set", "-o", set], {
      cwd: folder,
      env: { ...process.env, BUF_CACHE_DIR: temporaryPath() },
    });
  });

  it.each(["two", "three", "editions", "streaming", "streams"])("in %s.proto", async (name) => {
    const files = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(set)));
    const file = files.getFile(`${name}.proto`)!;
    const types = [...file.messages, ...file.enums, ...file.services].map(({ typeName }) => typeName);
    expect(types.length).toBeGreaterThan(0);
    const parsed = await shimctl(["describe", ...types, "--proto", `${name}.proto`], { cwd: folder });
    const compiled = await shimctl(["describe", ...types, "--descriptor-set", set]);
    expect(parsed).toEqual(compiled);
    expect(parsed.code).toBe(0);
  });

  it("and finds imports beside the file, in --import-path, and among protobuf's own", async () => {
    const beside = await shimctl(["describe", "test.Streams", "--proto", path.join(folder, "streams.proto")]);
    expect(beside.code).toBe(0);
    const elsewhere = temporaryPath();
    mkdirSync(path.join(elsewhere, "deep"), { recursive: true });
    cpSync(path.join(folder, "streams.proto"), path.join(elsewhere, "deep/streams.proto"));
    const args = ["describe", "test.Streams", "--proto", "deep/streams.proto"];
    const lost = await shimctl([...args, "-I", elsewhere]);
    expect(lost).toMatchObject({ code: 2, stdout: "" });
    expect(lost.stderr).toContain("deep/streams.proto imports streaming.proto: there is no");
    expect(lost.stderr).toContain("try --import-path");
    expect(await shimctl([...args, "-I", elsewhere, "-I", folder])).toEqual(beside);
  });
});

describe("a wrong schema ends with 2:", () => {
  const write = (text: string | Uint8Array) => {
    const file = temporaryPath(".proto");
    writeFileSync(file, text);
    return file;
  };

  it.each([
    ["a missing file", () => ["--proto", "/no/such.proto"], "there is no /no/such.proto"],
    ["something that is not a .proto file", () => ["--proto", write("message {")], "line 1"],
    [
      "a type that nobody declares",
      () => ["--proto", write('syntax = "proto3"; message A { B b = 1; }')],
      "no such Type or Enum 'B'",
    ],
    ["a file that imports itself", () => ["--proto", selfImporting()], "imports"],
    ["an import of a pipe, which nobody writes", () => ["--proto", pipeImporting()], "imports pipe.proto"],
    [
      "something that is not a set",
      () => ["--descriptor-set", write("nothing of the kind")],
      "is not a descriptor set",
    ],
    ["a missing set", () => ["--descriptor-set", "/no/such.binpb"], "cannot read /no/such.binpb"],
  ])("%s", async (_, args, said) => {
    const { code, stdout, stderr } = await shimctl(["describe", ...args()]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(said);
  });

  function selfImporting(): string {
    const file = temporaryPath(".proto");
    writeFileSync(file, `syntax = "proto3"; import "${path.basename(file)}"; message A {}`);
    return file;
  }

  function pipeImporting(): string {
    const folder = temporaryPath();
    mkdirSync(folder);
    execFileSync("mkfifo", [path.join(folder, "pipe.proto")]);
    const file = path.join(folder, "a.proto");
    writeFileSync(file, 'syntax = "proto3"; import "pipe.proto";');
    return file;
  }

  it("a set without its imports, and the error says how to make one", async () => {
    const proto = create(FileDescriptorSetSchema, { file: [{ name: "a.proto", dependency: ["b.proto"] }] });
    const set = write(toBinary(FileDescriptorSetSchema, proto));
    const { code, stderr } = await shimctl(["describe", "--descriptor-set", set]);
    expect(code).toBe(2);
    expect(stderr).toContain("a.proto imports b.proto, which is not in it");
    expect(stderr).toContain("--include_imports");
  });
});
