import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { ROOT } from "../helpers/program.js";
import { temporaryAddress } from "../helpers/temp.js";

// Jest's jsdom has no TextDecoder and no TextEncoder, and Buffer is Node's alone.
it.each([
  ["they are missing", "delete globalThis[name];"],
  ["polyfills take their places", "globalThis[name] = class { constructor() { throw new Error(name); } };"],
])("the package is loaded, called and fails as ever if of Node's globals %s", async (_, change) => {
  const program = `
    for (const name of ["Buffer", "TextDecoder", "TextEncoder", "URL"]) { ${change} }
    const { connect, createClient, createServer, packAny, TtrpcError } = await import("containerd-shim-protos");
    const { Task, StateRequestSchema } = await import("containerd-shim-protos/task/v3");
    const { runProcess } = await import("containerd-shim-protos/shim/process");
    const server = createServer().add(Task, {
      state({ id }) {
        if (id === "gone") throw new TtrpcError("ж gone", 5, { details: [packAny(StateRequestSchema, { id })] });
        return { id, stdin: id.repeat(1000) };
      },
    });
    const connection = await connect(await server.listen(process.argv[1]));
    const task = createClient(Task, connection);
    const { id, stdin } = await task.state({ id: "wéb" }, { metadata: { key: "ключ" } });
    const error = await task.state({ id: "gone" }).catch((reason) => reason);
    const { stdout } = await runProcess("/bin/echo", ["ok"]);
    await connection.close();
    await server.close();
    console.log(JSON.stringify([id, stdin.length, error.rawMessage, error.toJSON().details[0].value, ...stdout]));`;
  const args = ["--input-type=module", "--eval", program, temporaryAddress()];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { cwd: ROOT });
  expect(stderr).toBe("");
  expect(JSON.parse(stdout)).toEqual(["wéb", 3000, "ж gone", "CgRnb25l", 111, 107, 10]);
});
