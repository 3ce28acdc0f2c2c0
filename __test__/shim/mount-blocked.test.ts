import { expect, test } from "vitest";
import { PACKAGE } from "../helpers/package.js";
import { describeMounts, withMounts } from "./mounts.js";

/** A filesystem in user space whose server, this process, answers nothing until it is gone. */
const SILENT = `
  const server = fs.openSync("/dev/fuse", "r+");
  const silent = path.join(folder, "silent");
  fs.mkdirSync(silent);
  await mountAll([{ type: "fuse", source: "silent", options: [\`fd=\${server}\`, "rootmode=40000", "user_id=0", "group_id=0"] }], silent);
`;

describeMounts("a filesystem that does not answer", () => {
  test("holds up nothing but what waits for it", async () => {
    const { elsewhere, read, waiting, codes, after } = await withMounts<Record<string, unknown>>(`
      ${SILENT}
      // More than libuv has threads for all files.
      let waiting = 20;
      const blocked = Array.from({ length: 20 }, (_, i) =>
        thrown(mountAll([{ type: "tmpfs", target: String(i) }], silent)).finally(() => waiting--));
      await mountAll([{ type: "tmpfs" }], rootfs);
      const read = (await fs.promises.readFile("/proc/version", "utf8")).startsWith("Linux");
      const elsewhere = below().some(({ at }) => at === rootfs);
      await unmountAll(rootfs);
      const during = waiting;
      fs.closeSync(server);
      const codes = (await Promise.all(blocked)).map(({ code }) => code);
      await unmountAll(silent);
      tell({ elsewhere, read, waiting: during, codes: [...new Set(codes)], after: asBefore() });
    `);
    expect({ elsewhere, read, waiting, after }).toEqual({
      elsewhere: true,
      read: true,
      waiting: 20,
      after: true,
    });
    // ECONNABORTED for those that had asked, ENOTCONN for the others.
    for (const code of codes as string[]) expect(["ECONNABORTED", "ENOTCONN"]).toContain(code);
  });

  test("is unmounted when it is dead, or alive and silent", async () => {
    const { silent, dead } = await withMounts<{ silent: boolean; dead: boolean }>(`
      ${SILENT}
      await unmountAll(silent);
      const first = asBefore();
      fs.closeSync(server);
      const next = fs.openSync("/dev/fuse", "r+");
      const options = [\`fd=\${next}\`, "rootmode=40000", "user_id=0", "group_id=0"];
      await mountAll([{ type: "fuse", source: "dead", options }], silent);
      fs.closeSync(next);
      await unmountAll(silent);
      tell({ silent: first, dead: asBefore() });
    `);
    expect({ silent, dead }).toEqual({ silent: true, dead: true });
  });

  test("is no trouble to a worker that ends meanwhile", async () => {
    const { seen, after } = await withMounts<{ seen: string[]; after: boolean }>(`
      const { Worker } = await import("node:worker_threads");
      await mountAll([{ type: "tmpfs" }], rootfs);
      const open = fs.openSync(path.join(rootfs, "file"), "w");
      const source = \`
        const { parentPort, workerData } = require("node:worker_threads");
        import(workerData.module).then(({ unmountAll }) => {
          void unmountAll(workerData.rootfs, { busyTimeoutMs: 60_000 });
          parentPort.postMessage("started");
        });
      \`;
      const module = import.meta.resolve("${PACKAGE}/shim/mount");
      const seen = [];
      for (let i = 0; i < 5; i++) {
        const worker = new Worker(source, { eval: true, execArgv: [], workerData: { module, rootfs } });
        seen.push((await once(worker, "message"))[0]);
        await worker.terminate();
      }
      fs.closeSync(open);
      while (!asBefore()) await new Promise((done) => setTimeout(done, 10));
      tell({ seen, after: asBefore() });
    `);
    expect(seen).toEqual(Array.from({ length: 5 }, () => "started"));
    expect(after).toBe(true);
  });
});
