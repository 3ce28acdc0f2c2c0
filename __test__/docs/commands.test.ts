import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { describe, expect, it } from "vitest";
import { program } from "../../src/cli/program.js";
import { ROOT, temporaryFolder } from "../helpers/program.js";
import { type Block, BLOCKS } from "./blocks.js";

// The bundler replaces this name.
Object.assign(globalThis, { SHIMCTL_VERSION: "0.0.0" });

const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
  scripts: Record<string, string>;
};

/** The shell's builtins with effects. They are recorded, not run, like all other commands. */
const BUILTINS = ["exec", "cd", "wait", "kill", "source"];

/** The script of a block: its commands, or those of a transcript after `$ `. */
function sourceOf({ language, code }: Block): string {
  if (language === "sh") return code;
  // A command extends over lines until the shell finds it complete.
  const lines = code.split("\n");
  const commands: string[] = [];
  for (const [index, line] of lines.entries()) {
    if (!line.startsWith("$ ")) continue;
    let end = index + 1;
    while (end < lines.length && !complete([line.slice(2), ...lines.slice(index + 1, end)].join("\n"))) end++;
    commands.push([line.slice(2), ...lines.slice(index + 1, end)].join("\n"));
  }
  return commands.join("\n");
}

function complete(source: string): boolean {
  try {
    execFileSync("bash", ["-n", "-c", source], { stdio: "ignore" });
    return !source.endsWith("\\");
  } catch {
    return false;
  }
}

/** Ends a recorded command. Not a newline, at which bash flushes: two commands of a pipe must not mix. */
const END = "\u001e";

/** The commands of a script, with their words as the shell expands them. None is run, because none is found. */
function commandsOf(source: string): string[][] {
  const told = `printf '%s\\0' "$@" "${END}" >&3`;
  const prelude = [
    `command_not_found_handle() { ${told}; }`,
    ...BUILTINS.map((name) => `${name}() { set -- ${name} "$@"; ${told}; }`),
    // The names on the pages for the addresses of a shim and of another peer.
    "SHIM=unix:///shim.sock PEER=unix:///peer.sock PATH=/nowhere",
  ];
  const script = [...prelude, source].join("\n");
  const output = execFileSync("/bin/bash", ["-c", `{ eval "$0"; } 3>&1 >/dev/null </dev/null`, script], {
    cwd: temporaryFolder(),
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
  const commands: string[][] = [[]];
  for (const word of output.split("\0").slice(0, -1)) {
    if (word === END) commands.push([]);
    else commands.at(-1)?.push(word);
  }
  return commands.slice(0, -1);
}

/** Parses a command line of shimctl without running it. Throws if it is wrong. */
async function parseShimctl(args: string[]): Promise<void> {
  const shimctl = program();
  const tame = (command: Command) => {
    command.exitOverride().configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
    command.action(() => undefined);
    for (const child of command.commands) tame(child);
  };
  for (const child of shimctl.commands) tame(child);
  await shimctl.parseAsync(args, { from: "user" });
}

/** Throws if a command is wrong. */
async function check([command = "", ...args]: string[], page: string, cwd = ""): Promise<void> {
  const [first = "", second = ""] = args;
  switch (command) {
    case "npm": {
      const plain = ["ci", "install", "test"].includes(first);
      const script = first === "run" ? args.slice(1).find((arg) => !arg.startsWith("--")) : undefined;
      if (!plain && (script === undefined || scripts[script] === undefined)) {
        throw new Error(`npm has no ${args.join(" ")}`);
      }
      const file = args.slice(args.indexOf("--") + 1).find((arg) => arg.startsWith("__test__/"));
      if (file !== undefined && !existsSync(join(ROOT, file))) throw new Error(`there is no ${file}`);
      return;
    }
    case "npx":
      if (first === "containerd-shim-protos" || first === "shimctl") return parseShimctl(args.slice(1));
      if (first === "buf" && second === "generate") return;
      if (first === "tsx" || first === "esbuild") return checkFile(second, page, cwd);
      break;
    case "shimctl":
      return parseShimctl(args);
    case "sudo":
      return check(args, page, cwd);
    case "cd":
      if (existsSync(join(ROOT, first))) return;
      break;
    case "cargo":
    case "ctr":
    case "jq":
    case "head":
    case "ls":
    case "mv":
    case "rm":
    case "ss":
    case "kill":
    case "wait":
    case "source":
      return;
  }
  throw new Error(`nothing knows the command ${[command, ...args].join(" ")}`);
}

function checkFile(name: string, page: string, cwd: string): void {
  const inPage = BLOCKS.some((block) => block.page === page && block.name === name);
  if (!inPage && !existsSync(join(ROOT, cwd, name))) {
    throw new Error(`there is no ${name}`);
  }
}

const shells = BLOCKS.filter(
  ({ language, code }) => language === "sh" || (language === "" && /^\$ /m.test(code)),
);

describe("the commands of the documentation", () => {
  it.each(shells)("at $page:$line exist, and accept their arguments", async (block) => {
    const source = sourceOf(block);
    expect(complete(source)).toBe(true);
    // A script to save is only checked for its syntax.
    if (source.startsWith("#!")) return;
    const commands = commandsOf(source);
    expect(commands.length).toBeGreaterThan(0);
    let cwd = "";
    for (const command of commands) {
      await check(command, block.page, cwd);
      if (command[0] === "cd") cwd = command[1] ?? "";
    }
  });

  it("would not pass with an option, a script or a program that does not exist", async () => {
    for (const source of ["shimctl ls --wath", "npm run demmo", "npx tsx gone.ts", "frobnicate"]) {
      for (const command of commandsOf(source))
        await expect(check(command, "README.md")).rejects.toThrow(
          /unknown option|has no|there is no|nothing knows/,
        );
    }
  });

  it("of the quick start are complete in the README", () => {
    const readme = BLOCKS.filter(({ page }) => page === "README.md").map(({ code }) => code);
    expect(readme).toContain("npm ci && npm run demo\n");
    expect(readme).toContain("npm ci && npm test\n");
  });
});
