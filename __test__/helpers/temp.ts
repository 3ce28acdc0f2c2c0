import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll } from "vitest";

// The shortest parent possible, because a socket's path is limited to 107 bytes.
const folder = mkdtempSync("/tmp/shim-test-");
let count = 0;

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** A path where nothing exists. What is made there is removed after the test file. */
export function temporaryPath(suffix = ""): string {
  return join(folder, `${count++}${suffix}`);
}

/** A unix address where nobody listens. */
export function temporaryAddress(): string {
  return `unix://${temporaryPath(".sock")}`;
}

/** An abstract unix address where nobody listens. */
export function abstractAddress(): string {
  return `unix://@shim-test-${process.pid}-${count++}`;
}

/** The path of an address's socket file. */
export function pathOf(address: string): string {
  return address.slice("unix://".length);
}

/** A socket file whose server was killed before it could remove it. */
export function staleSocket(): string {
  const address = temporaryAddress();
  const script = `require("node:net").createServer().listen(process.argv[1], () => process.kill(process.pid, "SIGKILL"))`;
  const { signal } = spawnSync(process.execPath, ["-e", script, pathOf(address)]);
  if (signal !== "SIGKILL") throw new Error("no stale socket was made");
  return address;
}
