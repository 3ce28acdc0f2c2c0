import { execFile } from "node:child_process";
import { realpathSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { ROOT } from "../helpers/program.js";
import { temporaryAddress } from "../helpers/temp.js";

/** What turns the permission model on. Node 20 has it as an experiment. */
const PERMISSION = process.allowedNodeEnvironmentFlags.has("--permission")
  ? "--permission"
  : "--experimental-permission";

/** What a module prints that may load the package with its addon, and nothing else. */
async function printed(source: string): Promise<unknown> {
  const folders = [ROOT, realpathSync(join(ROOT, "node_modules"))].map(
    (folder) => `--allow-fs-read=${folder}/*`,
  );
  const args = [
    "--no-warnings",
    PERMISSION,
    "--allow-addons",
    ...folders,
    "--input-type=module",
    "--eval",
    source,
  ];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT });
  return JSON.parse(stdout);
}

it("a server listens at a path that Node's fs may not read, and removes the socket's file when it closes", async () => {
  const address = temporaryAddress();
  const round = `
    import { connect, createServer } from "containerd-shim-protos";
    const server = createServer().addRaw("a.B", { C: { kind: "unary", handle: (payload) => payload } });
    const connection = await connect(await server.listen(${JSON.stringify(address)}));
    console.log(JSON.stringify([...(await connection.unary("a.B", "C", Uint8Array.of(7)))]));
    await connection.close();
    await server.close();`;
  // If the file were left, the second could not listen.
  for (let index = 0; index < 2; index++) expect(await printed(round)).toEqual([7]);
});
