import { closeSync, mkdirSync, openSync, readdirSync, writeFileSync } from "node:fs";
import { spawnSync } from "node:child_process";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { temporaryPath } from "../helpers/temp.js";
import { shimctl, SHIMCTL } from "./shimctl.js";

/** Runs shimctl with stdout on a disk that is full. */
function onFullDisk(args: readonly string[]) {
  const full = openSync("/dev/full", "w");
  try {
    const stdio = ["ignore", full, "pipe"] as const;
    const { status, stderr } = spawnSync(process.execPath, [SHIMCTL, ...args], {
      stdio: [...stdio],
      encoding: "utf8",
    });
    return { code: status, stderr };
  } finally {
    closeSync(full);
  }
}

/** Runs shimctl where no file may have a byte. */
function withoutSpace(args: readonly string[], blocks = 0) {
  const command = ["-c", `ulimit -f ${blocks}; exec "$@"`, "sh", process.execPath, SHIMCTL, ...args];
  const { status, stdout, stderr } = spawnSync("sh", command, { encoding: "utf8" });
  return { code: status, stdout, stderr };
}

// Later versions of Node open one file of a program at a time.
const opensAllFiles = process.versions.node.startsWith("20.");

it.runIf(opensAllFiles)(
  "says that a process may not open enough files, when it cannot even load a command",
  () => {
    const command = 'ulimit -n 40; exec "$@"';
    const args = ["-c", command, "sh", process.execPath, SHIMCTL, "bench", "/x", "Task/State"];
    const { status, stderr } = spawnSync("sh", args, { encoding: "utf8" });
    expect(stderr).toBe("shimctl: too many open files\n  try a higher limit: `ulimit -n 1024`\n");
    expect(status).toBe(2);
  },
);

it("has the exit code of its error, even if nobody reads stderr any more", () => {
  const run = 'mkfifo "$0"; exec 9<>"$0" 8>"$0" 9<&-; "$@" 2>&8; echo $?';
  const args = [
    "-c",
    run,
    temporaryPath(),
    process.execPath,
    SHIMCTL,
    "call",
    "/no/such",
    "my.Service/Method",
    "--raw",
  ];
  expect(spawnSync("sh", args, { encoding: "utf8" })).toMatchObject({ stdout: "3\n", stderr: "" });
});

const FULL = {
  code: 74,
  stderr: "shimctl: cannot write to stdout: ENOSPC: no space left on device, write\n",
};

describe("output that cannot be written ends shimctl with 74 and the system's error", () => {
  it.each([["help"], ["--version"], ["describe"], ["completion bash"], ["ls --json"]])("of %s", (line) => {
    expect(onFullDisk(line.split(" "))).toEqual(FULL);
  });

  it("of new-shim", () => {
    const folder = temporaryPath();
    const { code, stderr } = withoutSpace(["new-shim", folder, "--name", "mine"]);
    const text = `shimctl: cannot write to ${folder}: EFBIG: file too large, write\n`;
    expect({ code, stderr }).toEqual({ code: 74, stderr: text });
  });

  it("of pack, which leaves nothing of it", () => {
    const folder = temporaryPath();
    mkdirSync(folder);
    const script = path.join(folder, "shim.cjs");
    writeFileSync(script, 'require("node:fs").writeSync(1, JSON.stringify({ name: "a", groups: [] }));');
    const program = path.join(folder, "program");
    // V8's code of the script has room, and the program, with the addon, has not.
    const { code, stderr } = withoutSpace(["pack", script, "--output", program], 1024);
    const text = `shimctl: cannot write to ${program}: EFBIG: file too large, write\n`;
    expect({ code, stderr }).toEqual({ code: 74, stderr: text });
    expect(readdirSync(folder)).toEqual(["shim.cjs"]);
  });
});

describe("pack", () => {
  it("ends with 2 for a script that cannot be read, or a folder that does not exist", async () => {
    const missing = temporaryPath(".cjs");
    const unread = await shimctl(["pack", missing, "--output", temporaryPath()]);
    expect(unread).toMatchObject({ code: 2, stdout: "" });
    expect(unread.stderr).toContain(`shimctl: cannot read ${missing}: ENOENT`);
    const script = temporaryPath(".cjs");
    writeFileSync(script, 'require("node:fs").writeSync(1, JSON.stringify({ name: "a", groups: [] }));');
    const program = path.join(temporaryPath(), "program");
    const unwritten = await shimctl(["pack", script, "--output", program]);
    expect(unwritten).toMatchObject({ code: 2, stdout: "" });
    expect(unwritten.stderr).toContain(`shimctl: cannot write to ${program}: ENOENT`);
  });

  /** Packs a script of this text. */
  async function pack(text: string, ...options: string[]) {
    const script = temporaryPath(".cjs");
    writeFileSync(script, text);
    return { script, ...(await shimctl(["pack", script, "--output", temporaryPath(), ...options])) };
  }

  it("takes a script that names its interpreter", async () => {
    const text =
      '#!/usr/bin/env node\nrequire("node:fs").writeSync(1, JSON.stringify({ name: "a", groups: [] }));';
    expect(await pack(text)).toMatchObject({ code: 0, stderr: "" });
  });

  it("ends with 2 for a script that fails, with what it printed line by line", async () => {
    const { code, stderr, script } = await pack('console.error("one\\ntwo\\x1b[2J"); process.exit(7)');
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: `shimctl: ${script} cannot be run: it ended with 7\n  one\n  two\\u001b[2J\n`,
    });
    const silent = await pack('process.kill(process.pid, "SIGKILL")');
    expect(silent.stderr).toBe(`shimctl: ${silent.script} cannot be run: it was ended by SIGKILL\n`);
  });

  it("ends with 2 for a script that prints more than the name of a shim", async () => {
    const { code, stderr } = await pack('require("node:fs").writeSync(1, "x".repeat(2 ** 21))');
    expect(code).toBe(2);
    expect(stderr).toContain("does not call runShim, or does something else before it does");
  });

  it("ends with 2 for an addon that is cut off, and for names that are empty", async () => {
    const addon = temporaryPath();
    writeFileSync(addon, "\x7fELF");
    expect((await pack("", "--addon", addon)).code).toBe(2);
    expect((await pack("", "--node", "")).stderr).toContain("It must not be empty.");
  });
});

describeWithPeer("output that cannot be written ends shimctl with 74, with a peer,", () => {
  it("of call and bench", async () => {
    await using peer = await Peer.task("v3");
    expect(onFullDisk(["call", peer.address, "containerd.task.v3.Task/Connect", "{}"])).toEqual(FULL);
    const bench = ["bench", peer.address, "containerd.task.v3.Task/Connect", "{}", "--calls", "10"];
    expect(onFullDisk([...bench, "--json"])).toEqual(FULL);
  });
});
