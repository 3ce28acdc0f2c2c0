import { existsSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { expect, it } from "vitest";
import { ROOT } from "../helpers/program.js";
import { PAGES, textOf } from "./blocks.js";

/** The anchors that GitHub makes from the headings of a page. */
function anchorsOf(page: string): string[] {
  return [...textOf(page).matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{Letter}\p{Number}\s_-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

/** Files outside docs/ that pages link to, and that link to pages. */
const BESIDE = ["bench/tried.md", "bench/codec.md", "bench/report.md"];

it.each([...PAGES, ...BESIDE, "CHANGELOG.md", "SECURITY.md"])("each link of %s leads somewhere", (page) => {
  const targets = [...textOf(page).matchAll(/\]\((?!\w+:)([^)\s]+)\)/g)].map(([, target = ""]) => target);
  const broken = targets.filter((target) => {
    const [path = "", anchor] = target.split("#");
    const file = path === "" ? page : normalize(join(dirname(page), path));
    if (!existsSync(join(ROOT, file))) return true;
    return anchor !== undefined && !anchorsOf(file).includes(anchor);
  });
  expect(broken).toEqual([]);
});

it.each(BESIDE)("%s is linked from a page of docs/", (file) => {
  expect(PAGES.some((page) => textOf(page).includes(`](../${file})`))).toBe(true);
});

it("each page is in the index of the README", () => {
  const readme = textOf("README.md");
  for (const page of PAGES.slice(1)) expect(readme).toContain(`](${page})`);
});
