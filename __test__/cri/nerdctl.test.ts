import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { type Result, run } from "./command.js";
import { BUSYBOX_IMAGE } from "./images/images.js";
import { type Handler, Node, OWN, RUNC, traces } from "./node.js";
import { CNI_FOLDERS } from "./requirements.js";

const SECONDS = { timeout: 20_000, interval: 200 };
const MIB_10 = 10 << 20;

/** Where everything of nerdctl is. Its networks are apart from those of Kubernetes. */
const FOLDER = join(Node.root, "nerdctl");
const GLOBAL = [
  ["address", Node.socket],
  ["data-root", join(FOLDER, "data")],
  ["hosts-dir", Node.hosts],
  ["cni-netconfpath", join(FOLDER, "net.d")],
  ["cgroup-manager", "cgroupfs"],
].map(([name, value]) => `--${name}=${value}`);

describe.each([OWN, RUNC])("nerdctl with $name", ({ runtime, handler }: Handler) => {
  let node: Node;

  beforeAll(async () => {
    node = await Node.start();
    mkdirSync(join(FOLDER, "net.d"), { recursive: true });
  });

  afterAll(async () => {
    await node?.stop();
  });

  afterEach(async () => {
    const { stdout } = await nerdctl("ps", "--all", "--quiet");
    for (const id of stdout.split("\n").filter(Boolean)) await nerdctl("rm", "--force", id);
  });

  test("runs a container in the background, whose logs have all it prints", async () => {
    await start("back", [], "seq 1 50000; echo failed >&2; exit 3");
    const { stdout, stderr } = await ended("back", 3);
    expect(stdout.split("\n")).toHaveLength(50_001);
    expect(stdout.endsWith("\n50000\n")).toBe(true);
    expect(stderr).toBe("failed\n");
  });

  test("shows the logs of a container that goes on", async () => {
    await start("on", [], "echo out; echo err >&2; sleep 1000");
    await vi.waitFor(async () => {
      expect(await nerdctl("logs", "on")).toMatchObject({ code: 0, stdout: "out\n", stderr: "err\n" });
    }, SECONDS);
  });

  test("runs a container with a terminal in the background", async () => {
    await start("terminal", ["--tty"], "tty; seq 1 2000; exit 4");
    const { stdout } = await ended("terminal", 4);
    expect(stdout.split("\n")[0]).toMatch(/^\/dev\/(pts\/0|console)\r$/);
    expect(stdout.endsWith("\n2000\r\n")).toBe(true);
    expect(stdout.split("\n")).toHaveLength(2_002);
  });

  test("waits for the late output of a process that ran in a container", async () => {
    await start("host", [], "sleep 1000");
    expect(await nerdctl("exec", "host", "sh", "-c", "sleep 1; echo late; exit 5")).toMatchObject({
      code: 5,
      stdout: "late\n",
    });
    expect(await nerdctl("exec", "host", "sh", "-c", "(sleep 2; echo later) & echo first")).toMatchObject({
      code: 0,
      stdout: "first\nlater\n",
    });
  });

  test("passes input on, to its end", async () => {
    const input = "line 1\nline 2\n";
    const args = [
      ...flags(["--rm", "--interactive"]),
      BUSYBOX_IMAGE,
      "sh",
      "-c",
      "sleep 0.5; cat /dev/stdin",
    ];
    expect(await run("nerdctl", args, { input, env: environment() })).toMatchObject({
      code: 0,
      stdout: input,
    });
    await start("host", [], "sleep 1000");
    const exec = [...GLOBAL, "exec", "--interactive", "host", "sh", "-c", "sleep 0.5; cat"];
    expect(await run("nerdctl", exec, { input, env: environment() })).toMatchObject({
      code: 0,
      stdout: input,
    });
  });

  test("shows 10 MiB of output, all of it", async () => {
    // A file of lines, so that what is missing would show.
    const script = `yes 0123456789abcde | head -c ${MIB_10}`;
    const { code, stdout } = await nerdctl(
      ...flags(["--rm"]).slice(GLOBAL.length),
      BUSYBOX_IMAGE,
      "sh",
      "-c",
      script,
    );
    expect(code).toBe(0);
    expect(stdout).toHaveLength(MIB_10);
    expect(digest(stdout)).toBe(digest("0123456789abcde\n".repeat(MIB_10 / 16)));
  });

  test("leaves nothing behind", async () => {
    await start("last", [], "sleep 1000");
    await nerdctl("rm", "--force", "last");
    await vi.waitFor(() => expect(traces()).toEqual([]), SECONDS);
  });

  /** The arguments of `nerdctl run` that choose the shim. */
  function flags(more: readonly string[]): string[] {
    return [...GLOBAL, "run", "--quiet", "--runtime", runtime, "--hostname", handler, ...more];
  }

  async function start(name: string, more: readonly string[], script: string): Promise<void> {
    const args = [...flags(["--detach", "--name", name, ...more]), BUSYBOX_IMAGE, "sh", "-c", script];
    const { code, stderr } = await run("nerdctl", args, { env: environment() });
    if (code !== 0) throw new Error(`nerdctl run: ${stderr}`);
  }

  /** Resolves to the logs of a container once it has ended. */
  async function ended(name: string, exitCode: number): Promise<Result> {
    expect(await nerdctl("wait", name)).toMatchObject({ code: 0, stdout: `${exitCode}\n` });
    return nerdctl("logs", name);
  }
});

function nerdctl(...args: readonly string[]): Promise<Result> {
  return run("nerdctl", [...GLOBAL, ...args], { env: environment() });
}

function environment(): NodeJS.ProcessEnv {
  const plugins = CNI_FOLDERS.find((folder) => folder !== "") ?? "";
  return { ...process.env, CNI_PATH: plugins };
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
