import { execFile } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it } from "vitest";
import { temporaryAddress, temporaryPath } from "../helpers/temp.js";
import { SHIMCTL } from "./shimctl.js";

const run = promisify(execFile);
const ROOT = path.join(import.meta.dirname, "../..");
const BUNDLE = path.dirname(SHIMCTL);
const { version, dependencies } = JSON.parse(readFileSync(path.join(ROOT, "package.json"), "utf8")) as {
  version: string;
  dependencies: Record<string, string>;
};

describe("the bundle of shimctl", () => {
  const files = readdirSync(BUNDLE).filter((name) => name.endsWith(".js"));

  it("needs only Node, the library beside it, and the library's dependencies", () => {
    expect(Object.keys(dependencies)).toEqual(["@bufbuild/protobuf"]);
    const specifiers = files.flatMap((file) => {
      const text = readFileSync(path.join(BUNDLE, file), "utf8");
      const imports = /^(?:import|export)\b[^"'();]*?["']([^"']+)["']|\bimport\(["']([^"']+)["']\)/gm;
      return [...text.matchAll(imports)].map(
        ([, statically, dynamically]) => statically ?? dynamically ?? "",
      );
    });
    expect(specifiers.length).toBeGreaterThan(files.length);
    const known = /^(node:|@bufbuild\/protobuf(\/|$)|(assert|process|readline|events|tty)$)/;
    const strangers = [...new Set(specifiers)].filter((specifier) =>
      specifier.startsWith(".") ? !existsSync(path.join(BUNDLE, specifier)) : !known.test(specifier),
    );
    expect(strangers).toEqual([]);
  });

  it("has no second copy of the library or of protobuf-es", () => {
    for (const file of files) {
      const text = readFileSync(path.join(BUNDLE, file), "utf8");
      expect(text).not.toMatch(/^\/\/ (src\/(?!cli\/)|node_modules\/@bufbuild)/m);
    }
  });

  it("includes the licences of its contents", () => {
    const notices = readFileSync(path.join(BUNDLE, "THIRD-PARTY-NOTICES.txt"), "utf8");
    for (const name of ["commander", "cli-progress", "log-update", "lossless-json"]) {
      expect(notices).toMatch(new RegExp(`^${name} \\d`, "m"));
    }
  });

  it("can be run", () => {
    expect(statSync(SHIMCTL).mode & 0o111).toBe(0o111);
    expect(readFileSync(SHIMCTL, "utf8")).toMatch(/^#!\/usr\/bin\/env node\n/);
  });
});

describe("the installed package", () => {
  const consumer = temporaryPath();

  beforeAll(async () => {
    const modules = path.join(consumer, "node_modules");
    const installed = path.join(modules, "containerd-shim-protos");
    mkdirSync(path.join(modules, "@bufbuild"), { recursive: true });
    mkdirSync(path.join(modules, ".bin"));
    mkdirSync(installed);
    writeFileSync(
      path.join(consumer, "package.json"),
      JSON.stringify({ dependencies: { "containerd-shim-protos": version } }),
    );
    const pack = ["pack", "--ignore-scripts", "--silent", "--pack-destination", consumer];
    const { stdout } = await run("npm", pack, { cwd: ROOT });
    const tarball = path.join(consumer, stdout.trim());
    await run("tar", ["-xzf", tarball, "--strip-components=1", "-C", installed]);
    symlinkSync(path.join(ROOT, "node_modules/@bufbuild/protobuf"), path.join(modules, "@bufbuild/protobuf"));
    symlinkSync("../containerd-shim-protos/dist/cli/shimctl.js", path.join(modules, ".bin/shimctl"));
  });

  it.each(["containerd-shim-protos", "shimctl"])("has the command as `npx %s`", async (name) => {
    // Stands in for the platform's package, which is built when a version is published.
    const addon = readdirSync(ROOT).find((file) => file.endsWith(".node"));
    const env = {
      NAPI_RS_NATIVE_LIBRARY_PATH: path.join(ROOT, addon ?? ""),
      ...process.env,
      FORCE_COLOR: undefined,
    };
    const npx = (...args: string[]) =>
      run("npx", ["--no", "--offline", name, ...args], { cwd: consumer, env });
    expect((await npx("--version")).stdout).toBe(`${version}\n`);
    const { stdout } = await npx("describe", "containerd.task.v3.ConnectRequest");
    expect(stdout).toBe("message containerd.task.v3.ConnectRequest {\n  string id = 1;\n}\n");
    await expect(npx("call", temporaryAddress(), "v3.Task/Connect")).rejects.toMatchObject({ code: 3 });
  });
});
