import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { ROOT } from "../helpers/program.js";
import { makeFifo } from "../helpers/shell.js";
import { temporaryAddress, temporaryPath } from "../helpers/temp.js";

/**
 * Notes the resources of this package as Jest and others do, to which one without `hasRef` keeps the process alive. What only
 * garbage collection ends is not noted, because they collect first. `seen` resolves once there is one that does, or none.
 */
const PRELUDE = `
  import { createHook } from "node:async_hooks";
  import { setTimeout as sleep } from "node:timers/promises";
  const resources = new Map();
  const init = (id, type, _, resource) => type === "ttrpc" && resources.set(id, resource);
  createHook({ init, destroy: (id) => resources.delete(id) }).enable();
  const holds = (resource) => resource.hasRef?.() ?? true;
  const seen = async (wanted) => {
    for (let tries = 0; tries < 2000; tries++) {
      if ([...resources.values()].some(holds) === wanted) return wanted;
      await sleep(5);
    }
    throw new Error("it is never " + wanted);
  };
  const said = [];
  process.once("exit", () => console.log(JSON.stringify(said)));
  const product = await import("containerd-shim-protos");
`;

async function run(source: string): Promise<unknown> {
  const args = ["--input-type=module", "-e", PRELUDE + source];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { cwd: ROOT });
  expect(stderr).toBe("");
  return JSON.parse(stdout);
}

it.each(["loop", "thread"])(
  "tools that list what keeps a process alive list the driver %s while it does",
  async (driver) => {
    const said = await run(`
      const server = product.createServer({ driver: "${driver}" }).addRaw("a.B", {
        Wait: { kind: "unary", handle: () => new Promise(() => {}) },
      });
      said.push(resources.size > 0, await seen(false));
      const address = await server.listen("${temporaryAddress()}");
      said.push(await seen(true));
      const connection = await product.connect(address, { driver: "${driver}" });
      await server.close();
      said.push(await seen(false));
      await connection.close();
      said.push(await seen(false));
    `);
    expect(said).toEqual([true, false, true, false, false]);
  },
);

it("they list the streams of processes while bytes may come", async () => {
  const fifo = makeFifo(temporaryPath());
  const said = await run(`
    const { spawn } = await import("node:child_process");
    const { openStdio } = await import("containerd-shim-protos/shim/io");
    const stdio = await openStdio({ stdin: "", stdout: "${fifo}", stderr: "" });
    said.push(resources.size > 0, await seen(false));
    const child = spawn("/bin/cat", { stdio: ["pipe", stdio.descriptors[1], "ignore"] });
    stdio.handedOver();
    said.push(await seen(true));
    child.stdin.end();
    await stdio.drained;
    stdio.close();
    said.push(await seen(false));
  `);
  expect(said).toEqual([true, false, true, false]);
});
