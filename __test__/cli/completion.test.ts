import { execFile, spawnSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it } from "vitest";
import { wordsOf } from "../../src/cli/completion/words.js";
import { temporaryPath } from "../helpers/temp.js";
import { SHIMCTL, shimctl } from "./shimctl.js";

const run = promisify(execFile);

/** A folder with shimctl, as npm would link it. */
let env: NodeJS.ProcessEnv;

beforeAll(() => {
  const bin = temporaryPath();
  mkdirSync(bin);
  symlinkSync(SHIMCTL, path.join(bin, "shimctl"));
  env = { ...process.env, PATH: `${bin}:${process.env["PATH"] ?? ""}` };
});

/** A suite for a shell. If the shell is missing, the suite is skipped and says so. */
function describeShell(shell: string, suite: () => void): void {
  const missing = spawnSync(shell, ["--version"]).error !== undefined;
  describe.skipIf(missing)(`completion in ${shell}${missing ? ` (skipped: needs ${shell})` : ""}`, () => {
    suite();
  });
}

/** The words that `shimctl complete` prints. */
async function words(...typed: string[]): Promise<string[]> {
  const { code, stdout } = await shimctl(["complete", "--", ...typed]);
  expect(code).toBe(0);
  const [kind, ...lines] = stdout.trimEnd().split("\n");
  return kind === "files" ? ["(files)"] : lines.map((line) => line.split("\t")[0] ?? "");
}

describe("shimctl complete", () => {
  it("knows commands, options, choices, services and methods", async () => {
    expect(await words("")).toEqual([
      "ls",
      "call",
      "describe",
      "events",
      "stats",
      "proxy",
      "bench",
      "new-shim",
      "pack",
      "completion",
      "help",
    ]);
    expect(await words("ls", "--")).toEqual(
      expect.arrayContaining(["--state", "--namespace", "--json", "--watch", "--interval", "--help"]),
    );
    expect(await words("call", "--kind", "")).toContain("bidi_streaming");
    expect(await words("completion", "")).toEqual(["bash", "zsh", "fish"]);
    expect(await words("call", "/x", "")).toContain("containerd.task.v3.Task/State");
    expect(await words("describe", "A/B", "")).toEqual(
      expect.arrayContaining([
        "containerd.task.v2.Task",
        "containerd.types.Mount",
        "containerd.task.v2.Task/Wait",
      ]),
    );
  });

  it("leaves files to the shell", async () => {
    for (const option of ["--proto", "-I", "--descriptor-set"]) {
      expect(await words("call", "/x", option, "")).toEqual(["(files)"]);
    }
    for (const option of ["--state", "--address", "--sockets"])
      expect(await words("ls", option, "")).toEqual(["(files)"]);
    expect(await words("pack", "")).toEqual(["(files)"]);
    expect(await words("pack", "--node", "")).toEqual(["(files)"]);
    expect(await words("call", "/run/")).toEqual(["(files)"]);
    expect(await words("proxy", "")).toEqual(["(files)"]);
  });

  it("knows what an earlier --proto adds", async () => {
    const file = temporaryPath(".proto");
    writeFileSync(file, 'syntax = "proto3"; package my; message A {} service S { rpc M(A) returns (A); }');
    expect(await words("call", "--proto", file, "/x", "")).toContain("my.S/M");
    expect(await words("call", `--proto=${file}`, "/x", "")).toContain("my.S/M");
    expect(await words("call", "--proto", "/no/such", "/x", "")).toEqual([]);
    const home = { HOME: path.dirname(file) };
    const { stdout } = await shimctl(
      ["complete", "--", "call", "--proto", `~/${path.basename(file)}`, "/x", ""],
      {
        env: home,
      },
    );
    expect(stdout).toContain("my.S/M");
  });

  it("takes the last parts of a name, as the commands do", async () => {
    expect(await words("call", "web", "v2.Task/Sta")).toEqual([
      "v2.Task/State",
      "v2.Task/Start",
      "v2.Task/Stats",
    ]);
    expect(await words("call", "web", "Task/Res")).toEqual(["Task/Resume", "Task/ResizePty"]);
    expect(await words("describe", "StateReq")).toEqual(["StateRequest"]);
    expect(await words("call", "web", "Nothing")).toEqual([]);
  });
});

describeShell("bash", () => {
  /** The completions that readline would get for a line up to the cursor. */
  async function complete(line: string): Promise<string[]> {
    const script = `
      source <(shimctl completion bash)
      COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
      COMP_LINE=$1 COMP_POINT=\${#1}
      $(complete -p shimctl | sed 's/.*-F \\([^ ]*\\).*/\\1/')
      printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout } = await run("bash", ["--norc", "-c", script, "bash", line], { env });
    return stdout.split("\n").filter((word) => word !== "");
  }

  it("accepts the script", async () => {
    const { stdout } = await shimctl(["completion", "bash"]);
    expect(spawnSync("bash", ["-n"], { input: stdout, encoding: "utf8" })).toMatchObject({
      status: 0,
      stderr: "",
    });
  });

  it("completes commands, options and methods", async () => {
    expect(await complete("shimctl d")).toEqual(["describe"]);
    expect(await complete("shimctl bench --dur")).toEqual(["--duration"]);
    expect(await complete("shimctl call /x containerd.task.v2.Task/St")).toEqual([
      "containerd.task.v2.Task/State",
      "containerd.task.v2.Task/Start",
      "containerd.task.v2.Task/Stats",
    ]);
    expect(await complete("shimctl completion ")).toEqual(["bash", "zsh", "fish"]);
    expect(await complete("shimctl call --proto /")).toEqual([]);
  });

  it("understands the quotes and backslashes of earlier words", async () => {
    const file = temporaryPath(" a 'b' $c.proto");
    writeFileSync(file, 'syntax = "proto3"; package my; message A {} service S { rpc M(A) returns (A); }');
    const single = `'${file.replaceAll("'", String.raw`'\''`)}'`;
    expect(await complete(`shimctl call --proto=${single}  /x my.S/`)).toEqual(["my.S/M"]);
    const double = `"${file.replaceAll("$", String.raw`\$`)}"`;
    const backslashes = file.replaceAll(/[ '$]/g, String.raw`\$&`);
    for (const quoted of [single, double, backslashes]) {
      expect(wordsOf(`  a ${quoted} --b=${quoted}\t`)).toEqual(["a", file, `--b=${file}`, ""]);
    }
    expect(wordsOf("a 'b c")).toEqual(["a", "b c"]);
  });
});

describeShell("zsh", () => {
  it("accepts the script", async () => {
    const { stdout } = await shimctl(["completion", "zsh"]);
    expect(spawnSync("zsh", ["-n"], { input: stdout, encoding: "utf8" })).toMatchObject({
      status: 0,
      stderr: "",
    });
  });

  it("completes methods", async () => {
    // A function that prints the matches replaces the one that shows them.
    const script = `
      compdef() { :; }
      source <(shimctl completion zsh)
      _describe() { print -l "\${(@P)4}"; }
      words=(shimctl call /x containerd.task.v2.Task/Sta) CURRENT=4
      _shimctl`;
    const { stdout } = await run("zsh", ["-f", "-c", script], { env });
    expect(stdout.split("\n")).toContain("containerd.task.v2.Task/State:unary");
  });

  it("understands the quotes of earlier words", async () => {
    const file = temporaryPath(" a b.proto");
    writeFileSync(file, 'syntax = "proto3"; package my; message A {} service S { rpc M(A) returns (A); }');
    const script = `
      compdef() { :; }
      source <(shimctl completion zsh)
      _describe() { print -l "\${(@P)4}"; }
      words=(shimctl call --proto "'${file}'" /x my.S/) CURRENT=6
      _shimctl`;
    const { stdout } = await run("zsh", ["-f", "-c", script], { env });
    expect(stdout.split("\n")).toContain("my.S/M:unary");
  });
});

describeShell("fish", () => {
  it("completes commands, methods and files", async () => {
    const complete = async (line: string) => {
      const script = `shimctl completion fish | source; complete -C '${line}'`;
      const { stdout } = await run("fish", ["--no-config", "-c", script], { env });
      return stdout.split("\n").map((word) => word.split("\t")[0]);
    };
    expect(await complete("shimctl d")).toContain("describe");
    expect(await complete("shimctl call /x containerd.task.v2.Task/Sta")).toContain(
      "containerd.task.v2.Task/State",
    );
    expect(await complete(`shimctl call --proto ${SHIMCTL.slice(0, -3)}`)).toContain(SHIMCTL);
  });
});
