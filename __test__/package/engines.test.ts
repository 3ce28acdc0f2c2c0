import { readFile } from "node:fs/promises";
import { satisfies } from "semver";
import { expect, test } from "vitest";

/** The oldest Node of each line on which a clone can be built. */
const NODES = ["20.19.0", "22.13.0", "24.0.0"];

interface Locked {
  version?: string;
  engines?: { node?: string };
  os?: string[];
  cpu?: string[];
}

test.each(NODES)("npm ci on Node %s installs no package that refuses it", async (node) => {
  const lock = JSON.parse(await readFile("package-lock.json", "utf8")) as {
    packages: Record<string, Locked>;
  };
  const installed = Object.entries(lock.packages).filter(
    ([, { os, cpu }]) => (os?.includes("linux") ?? true) && !(cpu?.includes("wasm32") ?? false),
  );
  expect(installed.length).toBeGreaterThan(100);
  const refusing = installed
    .filter(([, { engines }]) => engines?.node !== undefined && !satisfies(node, engines.node))
    .map(([name, { version, engines }]) => `${name} ${version} needs Node ${engines?.node}`);
  expect(refusing).toEqual([]);
});
