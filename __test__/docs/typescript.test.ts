import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ROOT } from "../helpers/program.js";
import { BLOCKS, blocksOf, placeOf } from "./blocks.js";
import { userProject } from "./project.js";

const typescript = BLOCKS.filter(({ language }) => language === "ts");

/** Where a block goes in the project that all of them are compiled in. */
function fileOf({ page, line, name }: (typeof BLOCKS)[number]): string {
  const folder = page.replace(/\.md$/, "");
  return name?.includes("/") === true ? name : `${folder}/${name ?? `line-${line}.ts`}`;
}

describe("the documentation", () => {
  it("has TypeScript that a strict compiler accepts", async () => {
    const files = Object.fromEntries(
      // A block is a module, whether or not it imports anything.
      typescript.map((block) => [fileOf(block), `${block.prelude}${block.code}\nexport {};\n`]),
    );
    expect(Object.keys(files)).toHaveLength(typescript.length);
    const cwd = userProject(files);
    // What `npx buf generate` makes in the folder of each example.
    for (const example of ["kata-agent", "nri-plugin"]) {
      const generated = `examples/${example}/gen`;
      cpSync(join(ROOT, generated), join(cwd, generated), { recursive: true });
    }
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

  it("has a server and a client of under 20 lines each in the README", () => {
    const blocks = blocksOf("README.md").filter(({ language }) => language === "ts");
    expect(blocks.map(({ name }) => name)).toEqual(["server.ts", "client.ts", "more.ts", "events.ts"]);
    for (const { code } of blocks) expect(code.trim().split("\n").length).toBeLessThanOrEqual(20);
  });

  it.each(BLOCKS.filter(({ language }) => language === "json"))("has JSON at $page:$line", ({ code }) => {
    expect(() => JSON.parse(code) as unknown).not.toThrow();
  });

  it("has no block in a language that nothing checks", () => {
    const known = new Set(["", "ts", "sh", "json"]);
    const unknown = BLOCKS.filter(({ language, name }) => !known.has(language) && name === undefined);
    expect(unknown.map(placeOf)).toEqual([]);
  });

  const quotes = BLOCKS.filter(({ name }) => name?.includes("/") === true);

  it.each(quotes)("quotes $name as it is, at $page:$line", ({ name = "", code }) => {
    const file = join(ROOT, name);
    expect(existsSync(file)).toBe(true);
    expect(code.slice(code.indexOf("\n") + 1)).toBe(readFileSync(file, "utf8"));
  });
});
