import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, expect, test } from "vitest";
import { temporaryPath } from "../helpers/temp.js";
import { bundleFixture, mustPack } from "./packed.js";
import { FIXTURE, ShimHost } from "./shim.js";

const folder = temporaryPath();
const program = join(folder, "containerd-shim-fixture-v1");

beforeAll(async () => {
  mkdirSync(folder);
  mustPack(await bundleFixture(), program);
}, 120_000);

const NAME = "io.containerd.fixture.v1";

test("whoever ignores the ends of children still learns why there is no server", async () => {
  const ignoring = ["-c", `trap "" CHLD; exec "$0" "$@"`, program];
  using host = new ShimHost({ executable: "/bin/sh", program: ignoring, env: { PATH: "/nonexistent" } });
  const { code, stderr } = await host.start();
  expect(code).toBe(1);
  expect(stderr).toMatch(/^io\.containerd\.fixture\.v1: node, looked for on PATH=.*, did not start: .*\n$/);
});

/** A user of whom nothing else runs, who may open the program all the same. */
const NOBODY = [
  `--reuid=${1_900_000_000 + process.pid}`,
  "--inh-caps=+dac_override",
  "--ambient-caps=+dac_override",
];

test.skipIf(process.getuid?.() !== 0)(
  "where there may be no more processes or threads, start says so and leaves no server",
  async () => {
    for (const limit of [1, 2]) {
      const limited = [...NOBODY, "prlimit", `--nproc=${limit}`, program];
      using host = new ShimHost({ executable: "setpriv", program: limited });
      const { code, stderr } = await host.start();
      expect(code).toBe(1);
      expect(stderr).toMatch(/^io\.containerd\.fixture\.v1: .*: Resource temporarily unavailable .*\n$/);
      expect(host.processes()).toEqual([]);
    }
  },
);

test("where no file may grow, start says so", async () => {
  using host = new ShimHost({ executable: "prlimit", program: ["--fsize=100", program] });
  const { code, stderr } = await host.start();
  expect(code).toBe(1);
  expect(stderr).toBe(`${NAME}: Node's first script could not be written: File too large (os error 27)\n`);
});

test("a working directory that was removed is named as what is missing", async () => {
  using host = new ShimHost({
    executable: "/bin/sh",
    program: ["-c", 'rmdir "$PWD" && exec "$0" "$@"', program],
  });
  const { code, stderr } = await host.start();
  expect(code).toBe(1);
  expect(stderr).toMatch(
    /^io\.containerd\.fixture\.v1: the working directory, where the bundle is: No such file/,
  );
});

const UNBLOCKED = [
  "-MFcntl",
  "-e",
  "fcntl(STDIN, F_SETFL, fcntl(STDIN, F_GETFL, 0) | O_NONBLOCK); exec @ARGV",
];

test.skipIf(spawnSync("perl", ["-MFcntl", "-e", "1"]).status !== 0).each([
  ["of one file", () => [program]],
  ["that Node runs", () => [process.execPath, FIXTURE]],
])("a shim %s waits for what comes to a stdin that does not block", async (_, command) => {
  using host = new ShimHost({ executable: "perl", program: [...UNBLOCKED, ...command()] });
  for (const [args, input] of [
    [[...host.flags, "start"], host.params],
    [["-info"], new Uint8Array()],
  ] as const) {
    const child = spawn(host.executable, [...host.program, ...args], {
      cwd: host.bundle,
      env: { ...process.env, ...host.env },
      stdio: ["pipe", "ignore", "pipe"],
    });
    let errors = "";
    child.stderr.on("data", (chunk: Buffer) => (errors += String(chunk)));
    await sleep(1000);
    child.stdin.end(input);
    const [code] = (await once(child, "close")) as [number];
    // The hook for -info prints something.
    expect([code, errors]).toEqual([0, args.length === 1 ? "asked\n" : ""]);
  }
});

test("a shim that Node runs, and has no descriptors left for its server, says so", async () => {
  const said: string[] = [];
  // How many Node needs differs from one version to the next. The server is started with the last that there are.
  for (let limit = 16; limit < 48; limit++) {
    const limited = [`--nofile=${limit}:${limit}`, process.execPath, FIXTURE];
    using host = new ShimHost({ executable: "prlimit", program: limited });
    const { code, stderr } = await host.start();
    if (code === 0 || /the server ended/.test(stderr)) break;
    said.push(stderr);
  }
  const why = `${NAME}: the server did not start: spawn ${process.execPath} EMFILE\n`;
  expect(said.filter((text) => text.startsWith(NAME) && !text.includes("open files"))).toContain(why);
  expect(said.join("")).not.toContain("Cannot read properties");
});
