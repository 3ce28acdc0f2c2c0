import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Script } from "../helpers/script.js";
import { temporaryPath } from "../helpers/temp.js";

/** `use(count)` opens descriptors until `count` are left; `free()` closes them. `gc` collects all garbage. */
const PRELUDE = `
  import fs from "node:fs";
  import v8 from "node:v8";
  import vm from "node:vm";
  v8.setFlagsFromString("--expose-gc");
  const gc = vm.runInNewContext("gc");
  const open = [];
  const use = (count) => {
    try { for (;;) open.push(fs.openSync("/dev/null")); } catch {}
    for (const fd of open.splice(-count)) fs.closeSync(fd);
  };
  const free = () => { for (const fd of open.splice(0)) fs.closeSync(fd); };
  const turn = () => new Promise((resolve) => setTimeout(resolve, 1));
`;

describe("without descriptors", () => {
  it("a driver that cannot start leaves no buffers behind, however often it is tried", async () => {
    await using script = new Script(
      `${PRELUDE}
      await product.createServer().addRaw("a.B", {}).close();
      use(1);
      const codes = new Set();
      for (let round = 0; round < 20; round++) {
        await product.connect("unix:///none", { driver: "thread" }).catch(({ cause }) => codes.add(cause.code));
      }
      free();
      await turn();
      gc();
      await turn();
      gc();
      say([...codes].join());
      // Two buffers of more than 4 MiB are the loop's own.
      say(String(process.memoryUsage().arrayBuffers < 40 << 20));
    `,
      "",
      { maxFiles: 128 },
    );
    expect(await script.rest()).toEqual(["EMFILE", "true"]);
  });

  it("the streams of a process say which of them has no thread, and each try leaves nothing behind", async () => {
    const file = temporaryPath();
    writeFileSync(file, "text");
    await using script = new Script(
      `${PRELUDE}
      import { openStdio } from "containerd-shim-protos/shim/io";
      const handles = () => process.report.getReport().libuv.filter(({ type }) => type === "async").length;
      const before = handles();
      use(1);
      const errors = new Set();
      for (let round = 0; round < 20; round++) {
        const stdio = openStdio({ stdin: process.argv[1], stdout: "", stderr: "" });
        await stdio.catch(({ code, message }) => errors.add(code + " " + message));
      }
      free();
      await turn();
      say([...errors].join());
      say(String(handles() - before < 10));
    `,
      file,
      { maxFiles: 128 },
    );
    expect(await script.rest()).toEqual([`EMFILE start the thread that passes on ${file}: EMFILE`, "true"]);
  });
});

const hasPrlimit = spawnSync("prlimit", ["--version"]).status === 0;

it.skipIf(!hasPrlimit)(
  "what needs a thread that the system refuses fails with the system's code",
  async () => {
    const file = temporaryPath();
    writeFileSync(file, "text");
    await using script = new Script(
      `
    import { execFileSync } from "node:child_process";
    import { openStdio } from "containerd-shim-protos/shim/io";
    import { mountAll, supportsIdMapping, unmountAll } from "containerd-shim-protos/shim/mount";
    const tries = [
      () => openStdio({ stdin: process.argv[1], stdout: "", stderr: "" }),
      () => mountAll([{ type: "bind", source: "/a" }], "/b"),
      () => unmountAll("/b"),
      () => supportsIdMapping("/b"),
    ];
    // It binds all users but root.
    execFileSync("prlimit", ["--nproc=1:1", "--pid", String(process.pid)]);
    if (process.getuid() === 0) process.setuid(65534);
    for (const one of tries) await one().catch(({ code, message }) => say(code + "|" + message));
  `,
      file,
    );
    const text = "no thread: resource temporarily unavailable";
    expect(await script.rest()).toEqual([
      `EAGAIN|EAGAIN: open '${file}'`,
      `EAGAIN|EAGAIN: mounts[0] (type "bind", source "/a", target "" in "/b", options ""): ${text}`,
      `EAGAIN|EAGAIN: unmount of "/b": ${text}`,
      `EAGAIN|EAGAIN: whether ids are mapped in "/b": ${text}`,
    ]);
  },
);

const hasMounts = spawnSync("unshare", ["--mount", "true"]).status === 0;

it.skipIf(!hasMounts)(
  "a socket whose mode needs /proc says so where there is none, and leaves no file",
  async () => {
    const path = temporaryPath();
    await using script = new Script(
      `
    import fs from "node:fs";
    const listening = product.createServer().addRaw("a.B", {}).listen(address, { mode: 0o666 });
    await listening.catch(({ message }) => say(message));
    say(String(fs.existsSync(address)));
  `,
      path,
      { wrapper: ["unshare", "--mount", "sh", "-c", 'umount --lazy /proc && exec "$0" "$@"'] },
    );
    const why = "the mode of a socket cannot be set without /proc";
    expect(await script.rest()).toEqual([`cannot listen on unix://${path}: ${why}`, "false"]);
  },
);
