import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { ROOT } from "../helpers/program.js";
import { textOf } from "./blocks.js";

it("the workflow runs each job of .ci/run, and Contributing names them", () => {
  const [, jobs = ""] = /^jobs=" (.*) "$/m.exec(readFileSync(join(ROOT, ".ci/run"), "utf8")) ?? [];
  const workflow = readFileSync(join(ROOT, ".github/workflows/ci.yml"), "utf8");
  const [, matrix = ""] = /^ +job: \[(.*)\]$/m.exec(workflow) ?? [];
  expect(matrix.split(", ")).toEqual(jobs.split(" "));
  expect(jobs.split(" ").length).toBeGreaterThan(1);
  for (const job of jobs.split(" ")) expect(textOf("CONTRIBUTING.md")).toMatch(new RegExp(`\`.*\\b${job}\``));
});
