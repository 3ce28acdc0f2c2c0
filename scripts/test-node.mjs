/**
 * Runs the tests on another Node, which npm brings: `npm run test:node -- 22`, or with what vitest takes,
 * `npm run test:node -- latest __test__/streams`. A major version, an exact one, or `latest`.
 *
 * All that the tests start finds that Node too: it is first on PATH. What is compiled stays as it is. The addon and what
 * else is native runs on every Node, but for better-sqlite3, which only Node 20 uses: it must be installed with Node 20.
 */

import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

import { indent, root, runMain, UserError } from "./toolchain.mjs";

const run = promisify(execFile);

await runMain(async () => {
  const [version = "", ...args] = process.argv.slice(2);
  if (!/^(?:latest|\d+(?:\.\d+){0,2})$/.test(version)) {
    throw new UserError("test:node takes the version of a Node, such as 22, 24.1.0 or latest.");
  }
  const node = await nodeOf(version);
  const { stdout } = await run(node, ["--version"]);
  console.log(`Node ${stdout.trim()}`);
  const env = {
    ...process.env,
    PATH: `${path.dirname(node)}${path.delimiter}${process.env.PATH}`,
    TEST_NODE: stdout.trim(),
    // What npm says of the Node that it runs on itself.
    NODE: node,
    npm_node_execpath: node,
  };
  const vitest = path.join(root, "node_modules", "vitest", "vitest.mjs");
  const child = spawn(node, [vitest, "run", ...args], { cwd: root, env, stdio: "inherit" });
  process.exitCode = await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve(code ?? 1));
  });
});

/** The program of a Node, from npm the first time. */
async function nodeOf(version) {
  const name = `node-linux-${process.arch}`;
  const folder = path.join(root, "target", "nodes", version);
  const node = path.join(folder, "node_modules", name, "bin", "node");
  if (existsSync(node)) return node;
  await mkdir(folder, { recursive: true });
  const args = ["install", "--prefix", folder, "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"];
  try {
    await run("npm", [...args, `${name}@${version}`], { cwd: folder });
  } catch (error) {
    throw new UserError(`npm did not bring ${name}@${version}.\n${indent(error.stderr || error.message)}`);
  }
  return node;
}
