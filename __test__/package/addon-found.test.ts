import { execFile } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { expect, it } from "vitest";
import { addonFile } from "../../src/native/load.js";
import { currentPlatform, platformNames } from "../../src/native/platform.js";
import { VERSION } from "../../src/version.js";
import { ROOT } from "../helpers/started.js";
import { temporaryPath } from "../helpers/temp.js";

const NAME = "containerd-shim-protos";
const [PLATFORM] = platformNames(currentPlatform());

const run = promisify(execFile);

/** The file of this process's C library, if that is glibc. */
const glibc = /\S+\/libc(?:\.so\.6|-2\.\d+\.so)$/m.exec(readFileSync("/proc/self/maps", "latin1"))?.[0];

it("is found by a bundle where only the package that names the addon's can require it, as with pnpm", async () => {
  const app = temporaryPath("-app");
  const store = join(app, "node_modules", ".pnpm", NAME, "node_modules");
  const addon = join(store, `${NAME}-${PLATFORM}`);
  const file = `${NAME}.${PLATFORM}.node`;
  for (const folder of [join(store, NAME), addon, join(app, "out")]) mkdirSync(folder, { recursive: true });
  symlinkSync(join(store, NAME), join(app, "node_modules", NAME));
  copyFileSync(join(ROOT, "package.json"), join(store, NAME, "package.json"));
  copyFileSync(join(ROOT, file), join(addon, file));
  writeFileSync(join(addon, "package.json"), JSON.stringify({ main: file }));

  const outfile = join(app, "out", "bundle.mjs");
  const contents = `import { Code } from "${NAME}"; console.log(Code.NotFound);`;
  const stdin = { contents, resolveDir: ROOT };
  await build({ stdin, outfile, bundle: true, platform: "node", format: "esm", logLevel: "error" });
  expect(await run(process.execPath, [outfile])).toEqual({ stdout: "5\n", stderr: "" });
});

/** What a bundle in this folder, where no addon is installed, prints as its error. */
async function errorOfBundle(folder: string): Promise<string> {
  const outfile = join(folder, "bundle.mjs");
  const stdin = { contents: `import "${NAME}";`, resolveDir: ROOT };
  await build({ stdin, outfile, bundle: true, platform: "node", format: "esm", logLevel: "error" });
  const { stderr } = (await run(process.execPath, [outfile]).catch((error: unknown) => error)) as {
    stderr: string;
  };
  expect(stderr).toContain(`Tried:\n  ${NAME}-${PLATFORM}: not found\n`);
  return stderr;
}

it("is looked for in no folder above a bundle but node_modules: anybody might have put it there", async () => {
  const shared = temporaryPath("-shared");
  const app = join(shared, "app", "out");
  mkdirSync(app, { recursive: true });
  const planted = join(shared, `${NAME}.${PLATFORM}.node`);
  writeFileSync(planted, "planted");
  const stderr = await errorOfBundle(app);
  expect(stderr).not.toContain(planted);
});

it("is missing where node_modules comes from another image, and the error says so, and how to install it", async () => {
  const app = temporaryPath("-app");
  const modules = join(app, "node_modules");
  const other = currentPlatform().libc === "musl" ? "gnu" : "musl";
  const installed = `linux-${process.arch}-${other}`;
  mkdirSync(join(modules, `${NAME}-${installed}`), { recursive: true });
  writeFileSync(join(modules, `${NAME}-${installed}`, "package.json"), "{}");
  const stderr = await errorOfBundle(app);
  expect(stderr).toContain(
    `\nWhat is installed is for ${installed}, so node_modules comes from another image or machine.\n`,
  );
  const libc = other === "musl" ? "glibc" : "musl";
  expect(stderr).toContain(`\n  npm install --os=linux --cpu=${process.arch} --libc=${libc}\n`);
});

it("is told from another package's, which the same variable may name", async () => {
  const other = temporaryPath(".cjs");
  writeFileSync(other, "module.exports = {};");
  const program = `import("${NAME}").catch(({ code, message }) => console.log(code + message))`;
  const env = { ...process.env, NAPI_RS_NATIVE_LIBRARY_PATH: other };
  const { stdout } = await run(process.execPath, ["-e", program], { cwd: ROOT, env });
  expect(stdout).toMatch(/^ERR_NATIVE_ADDON/);
  expect(stdout).toContain(`${other}: it is not an addon of ${NAME}\n`);
  expect(stdout).toContain("Other packages whose addons are made with napi-rs read it, too.");
});

it("is refused, and does not end the process, if an installation or a full disk has cut its file off", async () => {
  const whole = readFileSync(addonFile());
  const cut = temporaryPath(".node");
  writeFileSync(cut, whole.subarray(0, whole.length / 2));
  const program = `import("${NAME}").catch(({ code, message }) => console.log(code + message))`;
  const env = { ...process.env, NAPI_RS_NATIVE_LIBRARY_PATH: cut };
  const { stdout } = await run(process.execPath, ["-e", program], { cwd: ROOT, env });
  expect(stdout).toMatch(/^ERR_NATIVE_ADDON/);
  expect(stdout).toMatch(
    `${cut}: it was cut off after ${Math.floor(whole.length / 2)} of ${whole.length} bytes`,
  );
});

it.skipIf(glibc === undefined)("is found where an update has replaced the C library meanwhile", async () => {
  const folder = temporaryPath("-lib");
  mkdirSync(folder);
  const own = join(folder, basename(glibc ?? ""));
  copyFileSync(glibc ?? "", own);
  const program = `
    import { readFileSync, rmSync } from "node:fs";
    rmSync(${JSON.stringify(own)});
    if (!readFileSync("/proc/self/maps", "latin1").includes(${JSON.stringify(`${own} (deleted)`)})) throw new Error("not its own");
    const { Code } = await import("${NAME}");
    console.log(Code.NotFound);`;
  const args = ["--input-type=module", "--eval", program];
  const env = { ...process.env, LD_LIBRARY_PATH: folder };
  expect(await run(process.execPath, args, { cwd: ROOT, env })).toEqual({ stdout: "5\n", stderr: "" });
});

it("of before is what a worker gets in a process in which the package was replaced, and the error says what to do", async () => {
  const app = temporaryPath("-app");
  const installed = join(app, "node_modules", NAME);
  const next = join(app, "next");
  for (const folder of [installed, next]) {
    mkdirSync(folder, { recursive: true });
    for (const name of ["dist", "package.json", `${NAME}.${PLATFORM}.node`])
      cpSync(join(ROOT, name), join(folder, name), { recursive: true });
  }
  const core = join(next, "dist/chunks/core.js");
  writeFileSync(core, readFileSync(core, "utf8").replaceAll(`"${VERSION}"`, '"9.8.7"'));
  const program = join(app, "program.mjs");
  writeFileSync(
    program,
    `import { renameSync } from "node:fs";
    import { Worker } from "node:worker_threads";
    import { createServer } from "${NAME}";
    createServer();
    renameSync("${installed}", "${join(app, "old")}");
    renameSync("${next}", "${installed}");
    const work = 'import("${NAME}").then((it) => it.createServer()).catch(({ message }) => console.log(message))';
    new Worker(work, { eval: true });`,
  );
  const { stdout } = await run(process.execPath, [program], { cwd: app });
  expect(stdout).toContain(`: its version is ${VERSION}, but ${NAME} is 9.8.7`);
  expect(stdout).toContain("still has the addon of before: start it again.");
});
