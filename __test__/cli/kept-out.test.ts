import { chmodSync, chownSync, mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { createServer } from "containerd-shim-protos";
import { describe, expect, it } from "vitest";
import { pathOf, staleSocket, temporaryPath } from "../helpers/temp.js";
import { SHIMCTL, shimctl, Shimctl } from "./shimctl.js";

/** The commands that use the sockets of a containerd in a folder. */
const commands = (folder: string) => [
  ["events", "--address", join(folder, "containerd.sock")],
  ["call", join(folder, "containerd.sock.ttrpc"), "v2.Task/State"],
];

describe("shimctl says what to try", () => {
  it("where containerd's sockets are not", async () => {
    for (const command of commands(temporaryPath())) {
      const { code, stderr } = await shimctl(command);
      expect(code).toBe(3);
      expect(stderr).toMatch(/containerd\.sock(?:\.ttrpc)?: ENOENT,/);
      expect(stderr).toContain("a container needs a mount of the socket's folder");
      expect(stderr).not.toContain("shimctl ls");
    }
  });

  it("where containerd's sockets are those of one that has ended", async () => {
    const folder = temporaryPath();
    mkdirSync(folder);
    for (const name of ["containerd.sock", "containerd.sock.ttrpc"]) {
      renameSync(pathOf(staleSocket()), join(folder, name));
    }
    for (const command of commands(folder)) {
      const { code, stderr } = await shimctl(command);
      expect(code).toBe(3);
      expect(stderr).toMatch(/containerd\.sock(?:\.ttrpc)?: ECONNREFUSED,/);
      expect(stderr).toContain("containerd makes a new socket when it starts");
      expect(stderr).not.toContain("shimctl ls");
    }
  });
});

/** Runs it as a root that file permissions keep out, as in most containers. */
async function asContainedRoot(args: readonly string[]) {
  const without = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
  await using child = new Shimctl(args, {}, [...without, process.execPath, SHIMCTL]);
  return await child.outcome();
}

describe.skipIf(process.getuid?.() !== 0)("shimctl does not tell root to be root", () => {
  const OTHER = 12_345;

  it("where containerd's state is not to be read", async () => {
    const state = temporaryPath();
    mkdirSync(join(state, "io.containerd.runtime.v2.task"), { recursive: true, mode: 0o700 });
    chownSync(join(state, "io.containerd.runtime.v2.task"), OTHER, OTHER);
    for (const command of [["ls"], ["call", "web", "Task/State"]]) {
      const { code, stderr } = await asContainedRoot([...command, "--state", state]);
      expect(code).toBe(2);
      expect(stderr).toContain("try again as the host's root, with CAP_DAC_OVERRIDE: only root may read");
    }
  });

  it("where a socket is another user's", async () => {
    const path = temporaryPath(".sock");
    await using server = createServer().addRaw("a.B", {});
    await server.listen(path);
    chmodSync(path, 0o600);
    chownSync(path, OTHER, OTHER);
    const { code, stderr } = await asContainedRoot(["call", path, "v2.Task/State"]);
    expect(code).toBe(3);
    expect(stderr).toContain("try again as the host's root, with CAP_DAC_OVERRIDE: only its owner may use");
  });
});
