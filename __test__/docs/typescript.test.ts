import { parse as parseToml } from "smol-toml";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ROOT } from "../helpers/program.js";
import { BLOCKS, blocksOf, isModule, placeOf, PROGRAMS, textOf } from "./blocks.js";
import { userProject } from "./project.js";

const modules = BLOCKS.filter(isModule);

/** The file of a block in the project in which all blocks are compiled. */
function fileOf({ page, line, name }: (typeof BLOCKS)[number]): string {
  const folder = page.replace(/\.md$/, "");
  // The compiler does not check files that are JavaScript by name.
  const file = name?.replace(/\.mjs$/, ".mts") ?? `line-${line}.ts`;
  return file.includes("/") ? file : `${folder}/${file}`;
}

describe("the documentation", () => {
  it("has TypeScript that a strict compiler accepts", async () => {
    const files = Object.fromEntries(
      // A block is a module, whether or not it imports anything.
      modules.map((block) => [fileOf(block), `${block.prelude}${block.code}\nexport {};\n`]),
    );
    expect(Object.keys(files)).toHaveLength(modules.length);
    const cwd = userProject(files);
    // The output of `npx buf generate` in the folder of the example.
    const generated = "examples/kata-agent/gen";
    cpSync(join(ROOT, generated), join(cwd, generated), { recursive: true });
    const child = spawn(process.execPath, [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", cwd], {
      cwd,
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (output += chunk));
    await once(child, "close");

    expect(output).toBe("");
    expect(child.exitCode).toBe(0);
  });

  it("installs every package that its programs import, since pnpm gives them no others", () => {
    const bare = /from "((?:@[\w-]+\/)?[\w-]+)/g;
    for (const { page, code } of PROGRAMS) {
      const imported = [...code.matchAll(bare)].map(([, name = ""]) => name);
      const installed = new Set(
        [...textOf(page).matchAll(/npm install ([^`\n]*)/g)].flatMap(([, names = ""]) => names.split(" ")),
      );
      const missing = imported.filter(
        (name) => !name.startsWith("node") && name !== "containerd-shim-protos" && !installed.has(name),
      );
      expect(missing, page).toEqual([]);
    }
  });

  it("has one program of fewer than 15 lines in the README, before the clone", () => {
    const blocks = blocksOf("README.md");
    const programs = blocks.filter(isModule);
    expect(programs.map(({ name }) => name)).toEqual(["hello.mjs"]);
    for (const { code } of programs) expect(code.trim().split("\n").length).toBeLessThan(15);
    expect(blocks.slice(0, 2).map(({ language }) => language)).toEqual(["sh", "js"]);
    expect(blocks[0]?.code).toBe("npm install containerd-shim-protos\n");
  });

  it.each(BLOCKS.filter(({ language }) => language === "json"))("has JSON at $page:$line", ({ code }) => {
    expect(() => JSON.parse(code) as unknown).not.toThrow();
  });

  it.each(BLOCKS.filter(({ language }) => language === "toml"))(
    "has TOML that can be read, at $page:$line",
    ({ code }) => {
      expect(() => parseToml(code)).not.toThrow();
    },
  );

  it("has no block in a language that no test checks", () => {
    const known = new Set(["", "ts", "js", "sh", "json", "toml"]);
    const unknown = BLOCKS.filter(({ language, name }) => !known.has(language) && name === undefined);
    expect(unknown.map(placeOf)).toEqual([]);
  });

  const quotes = BLOCKS.filter(({ name }) => name?.includes("/") === true);

  it.each(quotes)("quotes $name exactly, at $page:$line", ({ name = "", code }) => {
    const file = join(ROOT, name);
    expect(existsSync(file)).toBe(true);
    expect(code.slice(code.indexOf("\n") + 1)).toBe(readFileSync(file, "utf8"));
  });
});
