import { spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { dirname } from "node:path";
import { listenConsole, openStdio } from "containerd-shim-protos/shim/io";
import { mountAll, unmountAll } from "containerd-shim-protos/shim/mount";
import { afterEach, expect, test } from "vitest";
import { Script } from "../helpers/script.js";

/** The warnings of this process, each once. */
class Warnings {
  readonly #all: string[] = [];
  readonly #note = ({ message }: Error) => void this.#all.push(message);

  constructor() {
    process.on("warning", this.#note);
  }

  stop(): void {
    process.off("warning", this.#note);
  }

  /** Resolves to the first that matches. */
  async next(pattern: RegExp): Promise<string> {
    for (;;) {
      const at = this.#all.findIndex((message) => pattern.test(message));
      if (at >= 0) return this.#all.splice(at, 1)[0]!;
      await once(process, "warning");
    }
  }

  get left(): readonly string[] {
    return this.#all;
  }
}

let warnings: Warnings;
afterEach(() => warnings.stop());

test.each([
  ["full disk", "/dev/full", "ENOSPC"],
  // No page is at its beginning, so no byte can be written.
  ["disk that fails", `/proc/${process.pid}/mem`, "EIO"],
])(
  "output to a %s is told to be lost while its process, which it does not harm, runs",
  async (_, path, code) => {
    warnings = new Warnings();
    const target = `file://${path}`;
    const stdio = await openStdio({ stdin: "", stdout: target, stderr: "" });
    const script = `echo lost; read go <&3; echo lost too && exit 7`;
    const child = spawn("/bin/sh", ["-c", script], { stdio: [...stdio.descriptors, "pipe"] });
    stdio.handedOver();
    const exit = once(child, "exit");
    expect(await warnings.next(/lost/)).toBe(`output for ${target} is being lost: ${code}`);
    (child.stdio[3] as NodeJS.WritableStream).end("go\n");
    expect(await exit).toEqual([7, null]);
    stdio.close();
    await stdio.drained;
    expect(await warnings.next(/lost/)).toBe(`output for ${target} was lost: ${code}`);
    expect(warnings.left).toEqual([]);
  },
);

test.skipIf(process.getuid?.() !== 0)("pipes that may not be given to a user say to whom", async () => {
  await using script = new Script(`
    import { openStdio } from "containerd-shim-protos/shim/io";
    process.setuid(65534);
    for (const owner of [{ uid: 0, gid: 7 }, { gid: 7 }]) {
      await openStdio({ stdin: "", stdout: "/dev/null", stderr: "" }, owner).catch(({ message }) => say(message));
    }
  `);
  expect(await script.rest()).toEqual([
    "give a pipe to user 0 and group 7: EPERM",
    "give a pipe to group 7: EPERM",
  ]);
});

test("a pipe for which there is no descriptor is not said to be refused to a user", async () => {
  await using script = new Script(
    `
      import { closeSync, openSync } from "node:fs";
      import { openStdio } from "containerd-shim-protos/shim/io";
      const open = () => openStdio({ stdin: "", stdout: "/dev/null", stderr: "" }, { uid: process.getuid(), gid: process.getgid() });
      (await open()).abandon();
      const taken = [];
      try {
        for (;;) taken.push(openSync("/dev/null"));
      } catch {
        // One is left for /dev/null, and none for a pipe.
        closeSync(taken.pop());
      }
      await open().catch(({ message }) => say(message));
    `,
    "",
    { maxFiles: 100 },
  );
  expect(await script.rest()).toEqual(["pipe: EMFILE"]);
});

test.skipIf(process.getuid?.() !== 0)(
  "the socket of a terminal that cannot be removed is no error",
  async () => {
    warnings = new Warnings();
    const socket = await listenConsole({ stdin: "", stdout: "/dev/null", stderr: "" });
    const folder = dirname(socket.path);
    await mountAll([{ type: "tmpfs", source: "tmpfs" }], folder);
    try {
      socket[Symbol.dispose]();
      expect(
        await warnings.next(/^the socket of a terminal could not be removed: .*resource busy/),
      ).toContain(folder);
    } finally {
      await unmountAll(folder);
      rmSync(folder, { recursive: true });
    }
  },
);
