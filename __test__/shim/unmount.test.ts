import { expect, test } from "vitest";
import { describeMounts, withMounts } from "./mounts.js";

interface Thrown {
  readonly message: string;
  readonly code: string;
  readonly syscall: string;
}

describeMounts("unmountAll", () => {
  test("unmounts what is at a folder and below it, and nothing else", async () => {
    const left = await withMounts<string[]>(`
      const [inner, beside] = [path.join(rootfs, "a b/inner"), make("bundle/rootfs-2")];
      for (const at of [rootfs, rootfs]) await mountAll([{ type: "tmpfs" }], at);
      fs.mkdirSync(inner, { recursive: true });
      for (const at of [inner, inner, beside]) await mountAll([{ type: "tmpfs" }], at);
      await unmountAll(rootfs);
      tell(below().map(({ at }) => path.relative(folder, at)));
    `);
    expect(left).toEqual(["bundle/rootfs-2"]);
  });

  test("finds what is mounted in a bundle behind a link", async () => {
    const { during, after } = await withMounts<{ during: number; after: boolean }>(`
      const link = path.join(folder, "link");
      fs.symlinkSync(bundle, link);
      fs.mkdirSync(path.join(rootfs, "inner"));
      await mountAll([{ type: "tmpfs", target: "inner" }], path.join(link, "rootfs"));
      await mountAll([overlay(3)], path.join(link, "rootfs"));
      const during = below().length;
      await unmountAll(path.join(link, "rootfs"));
      tell({ during, after: asBefore() });
    `);
    expect({ during, after }).toEqual({ during: 2, after: true });
  });

  test("takes a path as the kernel does: from where the process is, and through links first", async () => {
    const { during, after } = await withMounts<{ during: string[]; after: boolean }>(`
      const deep = make("elsewhere/deep");
      make("elsewhere/rootfs");
      fs.symlinkSync(deep, path.join(folder, "link"));
      process.chdir(folder);
      const mounting = mountAll([{ type: "tmpfs" }], "link/../rootfs");
      process.chdir("/");
      await mounting;
      const during = below().map(({ at }) => path.relative(folder, at));
      await unmountAll(folder + "/link/../rootfs");
      tell({ during, after: asBefore() });
    `);
    expect({ during, after }).toEqual({ during: ["elsewhere/rootfs"], after: true });
  });

  test("unmounts what is hidden under another mount", async () => {
    const after = await withMounts<boolean>(`
      fs.mkdirSync(path.join(rootfs, "a/b"), { recursive: true });
      await mountAll([{ type: "tmpfs", target: "a/b" }, { type: "tmpfs", target: "a" }, { type: "tmpfs" }], rootfs);
      await unmountAll(rootfs);
      tell(asBefore());
    `);
    expect(after).toBe(true);
  });

  test("has nothing to do where there is no folder, or nothing mounted", async () => {
    const after = await withMounts<boolean>(`
      for (const name of ["none", "none/at/all", "bundle/rootfs", "bundle"]) await unmountAll(path.join(folder, name));
      fs.writeFileSync(path.join(folder, "file"), "");
      await unmountAll(path.join(folder, "file/below"));
      tell(asBefore());
    `);
    expect(after).toBe(true);
  });

  test("tries a busy mount again until it is free, and does not block meanwhile", async () => {
    const { turns, after } = await withMounts<{ turns: number; after: boolean }>(`
      await mountAll([{ type: "tmpfs" }], rootfs);
      const open = fs.openSync(path.join(rootfs, "file"), "w");
      let turns = 0;
      const timer = setInterval(() => {
        if (++turns === 30) fs.closeSync(open);
      }, 5);
      await unmountAll(rootfs, { busyTimeoutMs: 60_000 });
      clearInterval(timer);
      tell({ turns, after: asBefore() });
    `);
    expect(turns).toBeGreaterThanOrEqual(30);
    expect(after).toBe(true);
  });

  test("names the mount that stays busy", async () => {
    const { error, left } = await withMounts<{ error: Thrown; left: number }>(`
      await mountAll([{ type: "tmpfs" }], rootfs);
      fs.mkdirSync(path.join(rootfs, "inner"));
      await mountAll([{ type: "tmpfs", target: "inner" }], rootfs);
      const open = fs.openSync(path.join(rootfs, "inner/file"), "w");
      const error = await thrown(unmountAll(rootfs, { busyTimeoutMs: 120 }));
      tell({ error, left: below().length });
    `);
    expect(error).toMatchObject({ code: "EBUSY", syscall: "umount" });
    expect(error.message).toMatch(/^EBUSY: unmount of ".*\/rootfs": ".*\/rootfs\/inner" is still in use$/);
    expect(left).toBe(2);
  });

  test("takes a busy mount out of sight in the end, if it is told to", async () => {
    const { after, works } = await withMounts<{ after: boolean; works: string }>(`
      await mountAll([{ type: "tmpfs" }], rootfs);
      fs.mkdirSync(path.join(rootfs, "inner"));
      await mountAll([{ type: "tmpfs", target: "inner" }], rootfs);
      const open = fs.openSync(path.join(rootfs, "inner/file"), "w+");
      await unmountAll(rootfs, { busyTimeoutMs: 0, detach: true });
      fs.writeSync(open, "works");
      const buffer = Buffer.alloc(5);
      fs.readSync(open, buffer, 0, 5, 0);
      tell({ after: asBefore(), works: buffer.toString() });
    `);
    expect({ after, works }).toEqual({ after: true, works: "works" });
  });

  test("refuses to unmount everything there is", async () => {
    const { error, after } = await withMounts<{ error: Thrown; after: boolean }>(`
      fs.symlinkSync("/", path.join(folder, "link"));
      const error = await thrown(unmountAll(path.join(folder, "link")));
      tell({ error, after: asBefore() });
    `);
    expect(error.code).toBe("EINVAL");
    expect(error.message).toMatch(/link" is the root of all that is mounted/);
    expect(after).toBe(true);
  });
});
