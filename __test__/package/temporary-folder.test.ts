import { execFile } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { ROOT } from "../helpers/program.js";
import { temporaryPath } from "../helpers/temp.js";

/** Prints where it listens for a terminal, after the folders for temporary files and of the process have been removed. */
const LATE = `
  import { rmdirSync, rmSync } from "node:fs";
  import { dirname } from "node:path";
  import { listenConsole } from "containerd-shim-protos/shim/io";
  process.chdir(process.env.GONE);
  rmdirSync(process.env.GONE);
  const socket = await listenConsole({ stdin: "", stdout: "/dev/null", stderr: "" });
  console.log(dirname(dirname(socket.path)));
  rmSync(dirname(socket.path), { recursive: true });
  socket[Symbol.dispose]();`;

/** Uses everything that makes sockets of its own, and prints whether each is there. */
const PROGRAM = `
  import { existsSync } from "node:fs";
  import { createTestRuntime } from "containerd-shim-protos/nri";
  import { listenConsole } from "containerd-shim-protos/shim/io";
  import { createTestShim } from "containerd-shim-protos/shim/testing";
  const shim = await createTestShim(() => ({ state: ({ id }) => ({ id }) }));
  const { id } = await shim.task.state({ id: "web" });
  const runtime = await createTestRuntime();
  await runtime.start("one", "10", { createContainer() {} });
  const socket = await listenConsole({ stdin: "", stdout: "/dev/null", stderr: "" });
  console.log(JSON.stringify([id, existsSync(shim.bundle), existsSync(runtime.socket), existsSync(socket.path)]));
  await Promise.all([shim, runtime].map((one) => one[Symbol.asyncDispose]()));
  socket[Symbol.dispose]();`;

it.each([
  ["has a path that no socket's would fit behind", "a".repeat(90)],
  ["has a path that leaves a socket's just enough room", "a".repeat(40)],
  ["is a relative path", ""],
])(
  "sockets of the package's own are made, and are removed, where the folder for temporary files %s",
  async (_, name) => {
    const parent = temporaryPath();
    const folder = join(parent, name);
    mkdirSync(folder, { recursive: true });
    const env = { ...process.env, TMPDIR: name === "" ? relative(ROOT, folder) : folder };
    const args = ["--input-type=module", "--eval", PROGRAM];
    const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { cwd: ROOT, env });
    expect(stderr).toBe("");
    expect(JSON.parse(stdout)).toEqual(["web", true, true, true]);
    expect(readdirSync(folder)).toEqual([]);
    if (name !== "") expect(readdirSync(dirname(folder))).toEqual([name]);
  },
);

it.each(["/tmp/that/has/gone", "relative"])(
  "a terminal's socket is made in /tmp if the folder for temporary files, %s, has gone since, and may go itself",
  async (folder) => {
    const gone = temporaryPath();
    mkdirSync(gone);
    const env = { ...process.env, TMPDIR: folder, GONE: gone };
    const args = ["--input-type=module", "--eval", LATE];
    const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { cwd: ROOT, env });
    expect(stderr).toBe("");
    expect(stdout).toBe("/tmp\n");
  },
);
