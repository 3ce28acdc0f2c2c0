import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, inject, it } from "vitest";
import { run } from "./consumer.js";
import { Registry } from "./registry.js";
import { NAME, packed, PLATFORMS, ROOT, tarballOf, tarballs, VERSION } from "./release.js";

const upstream = inject("upstream");

async function output(program: string, ...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await run(program, args, { cwd: ROOT });
  if (status !== 0) throw new Error(`${program} ${args.join(" ")}: ${status}\n${stdout}${stderr}`);
  return stdout;
}

async function filesOf(packageName: string): Promise<string[]> {
  const list = await output("tar", "-tzf", tarballOf(packageName));
  return list
    .trim()
    .split("\n")
    .map((file) => file.slice("package/".length))
    .toSorted();
}

async function manifestOf(packageName: string): Promise<Record<string, unknown>> {
  const text = await output("tar", "-xzOf", tarballOf(packageName), "package/package.json");
  return JSON.parse(text) as Record<string, unknown>;
}

const bin = (name: string) => join(ROOT, "node_modules", ".bin", name);

describe("the tarballs", () => {
  it("are the five of a release", () => {
    expect(packed()).toEqual(tarballs.map((file) => file.slice(join(ROOT, "artifacts/").length)).toSorted());
  });

  it("have one version, and the main package requires all others at it", async () => {
    const manifests = await Promise.all(PLATFORMS.map((platform) => manifestOf(`${NAME}-${platform}`)));
    expect(manifests.map(({ version }) => version)).toEqual(PLATFORMS.map(() => VERSION));
    expect(await manifestOf(NAME)).toMatchObject({
      version: VERSION,
      dependencies: { "@bufbuild/protobuf": expect.stringMatching(/^\^2\./) },
      optionalDependencies: Object.fromEntries(PLATFORMS.map((platform) => [`${NAME}-${platform}`, VERSION])),
    });
  });

  it("name their home and where to report bugs, from one line of the manifest", async () => {
    const { repository } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as Record<
      string,
      string
    >;
    const home = process.env["GITHUB_REPOSITORY"] || repository?.replace("github:", "");
    const url = `https://github.com/${home}`;
    for (const platform of [undefined, ...PLATFORMS]) {
      const name = platform === undefined ? NAME : `${NAME}-${platform}`;
      expect(await manifestOf(name)).toMatchObject({
        homepage: `${url}#readme`,
        bugs: { url: `${url}/issues` },
        repository: { type: "git", url: `git+${url}.git`, ...(platform && { directory: `npm/${platform}` }) },
      });
    }
  });

  it("run nothing when they are installed", async () => {
    for (const name of [NAME, ...PLATFORMS.map((platform) => `${NAME}-${platform}`)]) {
      expect(await manifestOf(name)).not.toHaveProperty("scripts");
    }
  });

  it.each(PLATFORMS)("have, for %s, the addon for that platform only", async (platform) => {
    const addon = `${NAME}.${platform}.node`;
    const [, cpu, libc] = platform.split("-");
    expect(await filesOf(`${NAME}-${platform}`)).toEqual(
      ["LICENSE", "README.md", "THIRD-PARTY-NOTICES.txt", addon, "package.json"].toSorted(),
    );
    const notices = `package/THIRD-PARTY-NOTICES.txt`;
    const text = await output("tar", "-xzOf", tarballOf(`${NAME}-${platform}`), notices);
    for (const crate of ["ttrpc", "tokio", "protobuf", "napi", "libmimalloc-sys", "containerd-shim-protos"]) {
      expect(text).toMatch(new RegExp(`^${crate} \\d[\\d.]* \\((?:MIT|Apache-2.0)\\)$`, "m"));
    }
    expect(text).not.toMatch(/^(?:napi-build|napi-derive|syn) /m);
    expect(await manifestOf(`${NAME}-${platform}`)).toMatchObject({
      main: addon,
      os: ["linux"],
      cpu: [cpu],
      libc: [libc === "gnu" ? "glibc" : "musl"],
    });
  });

  it("have, for the main package, the compiled sources, the command, and nothing else", async () => {
    const listed = ["ls-files", "--cached", "--others", "--exclude-standard", "src", ":!src/cli", ":!*.d.ts"];
    const sources = await output("git", ...listed);
    const generated = await output("find", "src/protos/generated", "-name", "*.ts", "-printf", "%p\\n");
    const compiled = `${sources}${generated}`
      .trim()
      .split("\n")
      .map((file) => file.replace(/^src(.*)\.ts$/, "dist$1"))
      .map((file) => `${file}.d.ts`);
    const besides = ["LICENSE", "README.md", "index.d.ts", "package.json"];
    const files = await filesOf(NAME);
    const command = files.filter((file) => file.startsWith("dist/cli/"));
    expect(command).toEqual(
      expect.arrayContaining(["dist/cli/shimctl.js", "dist/cli/THIRD-PARTY-NOTICES.txt"]),
    );
    const template = "dist/cli/new-shim/";
    const others = command.filter((file) => !/\.js$|NOTICES\.txt$/.test(file));
    expect(others.filter((file) => !file.startsWith(template))).toEqual([]);
    expect(others.map((file) => file.slice(template.length))).toEqual([
      "README.md",
      "build.mjs",
      "gitignore",
      "main.ts",
      "service.test.ts",
      "service.ts",
      "tsconfig.json",
    ]);
    const types = files.filter((file) => file.endsWith(".d.ts") && file.startsWith("dist/"));
    expect(compiled).toEqual(expect.arrayContaining(types));
    const bundled = files.filter((file) => /^dist\/(?!cli\/).*\.js(?:\.map)?$/.test(file));
    expect(files).toEqual([...types, ...bundled, ...besides, ...command].toSorted());
  });

  it("have types and entries that pass attw and publint", async () => {
    const checks = [
      [bin("attw"), tarballOf(NAME)],
      ...tarballs.map((file) => [bin("publint"), "run", file, "--strict"]),
    ];
    for (const [program = "", ...args] of checks) {
      expect(await run(program, args, { cwd: ROOT })).toMatchObject({ status: 0, stderr: "" });
    }
  });

  it("have addons that need only what the platform has", async () => {
    await output("node", "scripts/check-prebuilds.mjs");
    for (const platform of PLATFORMS) {
      const file = `${NAME}.${platform}.node`;
      const inTarball = await output(
        "sh",
        "-c",
        `tar -xzOf ${tarballOf(`${NAME}-${platform}`)} package/${file} | sha256sum`,
      );
      const checked = await output("sh", "-c", `sha256sum < npm/${platform}/${file}`);
      expect(inTarball).toBe(checked);
    }
  });
});

describe("npm publish", () => {
  it.each([...tarballs, "."])("publishes nothing of %s in a dry run", async (what) => {
    await using registry = await Registry.start(upstream);
    // Of the repository's folder, npm's scripts would compile anew what other tests use at this moment.
    await output("npm", "publish", what, "--dry-run", "--ignore-scripts", ...registry.options);
    expect(registry.published).toEqual([]);
  });

  it("refuses the repository's folder, whose manifest names no platform packages", async () => {
    await using registry = await Registry.start(upstream);
    const { status, stderr } = await run("npm", ["publish", ...registry.options], { cwd: ROOT });
    expect(status).not.toBe(0);
    expect(stderr).toContain("Publish the tarballs that `npm run pack:all` writes");
    expect(registry.published).toEqual([]);
    expect(JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"))).not.toHaveProperty(
      "optionalDependencies",
    );
  });
});
