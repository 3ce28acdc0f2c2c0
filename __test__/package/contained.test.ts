import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { expect, test } from "vitest";
import { Script } from "../helpers/script.js";
import { temporaryPath } from "../helpers/temp.js";

const hasMounts = spawnSync("unshare", ["--mount", "true"]).status === 0;

/** Makes nothing writable but one folder, as a mount of the host in a pod, and takes what few pods have. */
const CONTAINED = `
  set -e
  mount --bind "$MOUNTED" "$MOUNTED"
  mount -o remount,bind,ro /
  for each in /sys /dev/shm /dev/mqueue; do umount --lazy --recursive $each 2>/dev/null || true; done
  exec env -u HOME -u TMPDIR -u USER setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$0" "$@"`;

test.skipIf(!hasMounts)(
  "without capabilities, home, /sys and a writable root, programs call, serve, and receive events in a mounted folder",
  async () => {
    const path = temporaryPath();
    mkdirSync(path);
    await using script = new Script(
      `
      import fs from "node:fs";
      import { createPublisher, listenEvents, TASK_EXIT_EVENT_TOPIC, TaskExitSchema } from "containerd-shim-protos/events";
      import { runProcess } from "containerd-shim-protos/shim/process";
      try { fs.writeFileSync("/written", ""); } catch ({ code }) { say(code); }
      say(/CapEff:\\s*(\\w+)/.exec(fs.readFileSync("/proc/self/status", "utf8"))[1]);
      for (const driver of ["loop", "thread"]) {
        const server = product.createServer({ driver });
        server.addRaw("a.B", { C: { kind: "unary", handle: (payload) => payload } });
        const connection = await product.connect(await server.listen(address + "/a", { mode: 0o660 }), { driver });
        say(String((await connection.unary("a.B", "C", Uint8Array.of(7)))[0]));
        await connection.close();
        await server.close();
      }
      const events = listenEvents(address + "/b");
      const publisher = createPublisher(address + "/b", { namespace: "default" });
      void publisher.publish(TASK_EXIT_EVENT_TOPIC, TaskExitSchema, { containerId: "web", id: "web" });
      for await (const { message } of events) { say(message.id); break; }
      await publisher.close();
      await events.close();
      say(String((await runProcess("/bin/echo", ["ok"])).stdout));
      say(String(fs.readdirSync(address).length));
    `,
      path,
      { wrapper: ["env", `MOUNTED=${dirname(path)}`, "unshare", "--mount", "sh", "-c", CONTAINED] },
    );
    const lines = await script.rest();
    expect(lines).toEqual(["EROFS", "0000000000000000", "7", "7", "web", "ok", "", "0"]);
  },
);
