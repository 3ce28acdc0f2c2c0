import { execFile, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { temporaryPath } from "../helpers/temp.js";
import { linkPackages } from "./new-shim.js";
import { SHIMCTL, shimctl } from "./shimctl.js";

const run = promisify(execFile);

describe("shimctl new-shim", () => {
  it("writes a shim whose test passes, and that builds into a program", { timeout: 120_000 }, async () => {
    const folder = temporaryPath();
    const { code, stdout, stderr } = await shimctl(["new-shim", folder, "--name", "mine"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain("io.containerd.mine.v1");
    for (const file of ["README.md", "main.ts"]) {
      expect(readFileSync(path.join(folder, file), "utf8")).not.toContain("__NAME__");
    }
    linkPackages(folder);
    const env = { ...process.env, CI: "1", VITEST: undefined, NODE_ENV: undefined };
    const { stdout: tested } = await run("npm", ["test"], { cwd: folder, env });
    expect(tested).toMatch(/1 passed/);
    await run("npm", ["run", "build"], { cwd: folder, env });
    const program = path.join(folder, "containerd-shim-mine-v1");
    expect((await run(program, ["-v"])).stdout).toContain("Version:  0.1.0");
    const ignored = readFileSync(path.join(folder, ".gitignore"), "utf8");
    expect(ignored.split("\n")).toContain(path.basename(program));
  });

  it("takes the runtime's name from the folder's", async () => {
    const folder = path.join(temporaryPath(), "My-Shim");
    expect(await shimctl(["new-shim", folder])).toMatchObject({ code: 0 });
    expect(readFileSync(path.join(folder, "main.ts"), "utf8")).toContain("io.containerd.myshim.v1");
  });

  it("prints a command that a shell understands, whatever the folder's name is", async () => {
    const parent = temporaryPath();
    mkdirSync(parent);
    for (const folder of ["it's $HOME", "-x", "plain"]) {
      const { stdout } = await shimctl(["new-shim", "--name", "mine", "--", folder], { cwd: parent });
      const enter = /^ {2}(cd .*?) && npm/m.exec(stdout)?.[1] ?? "";
      const { stdout: entered } = await run("sh", ["-c", `${enter} && pwd`], { cwd: parent });
      expect(entered).toBe(`${path.join(parent, folder)}\n`);
    }
  });

  it("ends with 2 where nobody can make a folder, or if there is no working directory any more", async () => {
    expect(await shimctl(["new-shim", "/proc/mine"])).toEqual({
      code: 2,
      stdout: "",
      stderr: "shimctl: cannot write to /proc/mine: ENOENT: no such file or directory, mkdir '/proc/mine'\n",
    });
    const script = 'mkdir "$0" && cd "$0" && rmdir "$0" && "$@" 2>&1; echo $?';
    const args = ["-c", script, temporaryPath(), process.execPath, SHIMCTL, "new-shim", "mine"];
    expect(spawnSync("sh", args, { encoding: "utf8" }).stdout).toBe(
      "shimctl: the working directory does not exist any more\n2\n",
    );
  });

  it("touches no folder with something in it, and takes no name that a runtime cannot have", async () => {
    const folder = temporaryPath();
    mkdirSync(folder);
    writeFileSync(path.join(folder, "mine.txt"), "");
    const full = await shimctl(["new-shim", folder, "--name", "mine"]);
    expect(full).toMatchObject({ code: 2, stdout: "" });
    expect(full.stderr).toContain("is not empty: it has mine.txt");
    const wrong = await shimctl(["new-shim", temporaryPath(), "--name", "a/b"]);
    expect(wrong).toMatchObject({ code: 2, stdout: "" });
    expect(wrong.stderr).toContain("cannot be part of a runtime's name");
  });
});
