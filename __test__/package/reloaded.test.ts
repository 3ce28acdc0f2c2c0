import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { build } from "esbuild";
import { expect, it } from "vitest";
import { addonFile } from "../../src/native/load.js";
import { ROOT } from "../helpers/program.js";
import { temporaryAddress, temporaryPath } from "../helpers/temp.js";

it("a program that loads the package again and again gets no warning of listeners", async () => {
  const bundle = temporaryPath(".cjs");
  const contents = `export { connect, createServer } from "containerd-shim-protos";`;
  const stdin = { contents, resolveDir: ROOT };
  await build({ stdin, outfile: bundle, bundle: true, platform: "node", format: "cjs", logLevel: "error" });
  const program = temporaryPath(".cjs");
  writeFileSync(
    program,
    `
    const [bundle, address] = process.argv.slice(2);
    (async () => {
      for (let count = 0; count < 12; count++) {
        delete require.cache[bundle];
        const { connect, createServer } = require(bundle);
        const server = createServer().addRaw("a.B", { Echo: { kind: "unary", handle: (payload) => payload } });
        const connection = await connect(await server.listen(address));
        await connection.unary("a.B", "Echo", Uint8Array.of(0));
        await connection.close();
        await server.close();
      }
      console.log(process.listenerCount("exit"));
    })();`,
  );
  const env = { ...process.env, NAPI_RS_NATIVE_LIBRARY_PATH: addonFile() };
  const args = [program, bundle, temporaryAddress()];
  expect(await promisify(execFile)(process.execPath, args, { env })).toEqual({ stdout: "1\n", stderr: "" });
});
