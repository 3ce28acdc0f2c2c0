/**
 * Runs the tests on another Node, which npm installs: `npm run test:node -- 22`, or with arguments for vitest, `npm run
 * test:node -- latest __test__/both-drivers/streams`. The version is a major version, an exact one, or `latest`.
 *
 * That Node is first on PATH, so everything that the tests start uses it too. Nothing is recompiled: the addon and
 * other native code run on every Node, except better-sqlite3, which only Node 20 uses and which must be installed with
 * Node 20.
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
    throw new UserError("test:node needs a Node version, such as 22, 24.1.0 or latest.");
  }
  const node = await nodeOf(version);
  const { stdout } = await run(node, ["--version"]);
  console.log(`Node ${stdout.trim()}`);
  const env = {
    ...process.env,
    PATH: `${path.dirname(node)}${path.delimiter}${process.env.PATH}`,
    TEST_NODE: stdout.trim(),
    // npm sets this to the Node that it runs on itself.
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

/** Returns the program of a Node, which npm installs the first time. */
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
    throw new UserError(
      `npm could not install ${name}@${version}.\n${indent(error.stderr || error.message)}`,
    );
  }
  return node;
}
