import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const PROGRAM = `
  import { packAny, unpackAny, createServer, connect, createClient } from "containerd-shim-protos";
  import { Task, StateRequestSchema } from "containerd-shim-protos/task/v3";
  import { tmpdir } from "node:os";
  import { mkdtempSync, rmSync } from "node:fs";
  let evil;
  try { evil = new Function("return 1")(); } catch (error) { evil = error.name; }
  const folder = mkdtempSync(tmpdir() + "/no-compiler-");
  const server = createServer().add(Task, { state: ({ id }) => ({ id: id + "!", exitStatus: 2 ** 32 - 1 }) });
  const connection = await connect(await server.listen("unix://" + folder + "/s"));
  const task = createClient(Task, connection);
  const { id, exitStatus } = await task.state({ id: "grün" });
  const refused = await task.state({ id: "a", execId: "\\ud800" }).catch((error) => error.message);
  const any = packAny(StateRequestSchema, { id: "packed" });
  const broken = await connection.unary(Task.typeName, "State", new Uint8Array([0xff])).catch((error) => error.rawMessage);
  console.log(JSON.stringify({ evil, id, exitStatus, refused, unpacked: unpackAny(any, StateRequestSchema).id, broken }));
  await connection.close();
  await server.close();
  rmSync(folder, { recursive: true });
`;

test.each([
  [["--disallow-code-generation-from-strings"], "EvalError"],
  [[], 1],
])("typed calls work with node %j", async (flags, evil) => {
  const args = [...flags, "--input-type=module", "--eval", PROGRAM];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: process.cwd() });
  expect(JSON.parse(stdout)).toEqual({
    evil,
    id: "grün!",
    exitStatus: 2 ** 32 - 1,
    refused: "containerd.task.v3.Task/State: execId has a lone surrogate, which UTF-8 cannot encode",
    unpacked: "packed",
    broken: expect.stringMatching(/^cannot decode containerd\.task\.v3\.StateRequest: /),
  });
});
