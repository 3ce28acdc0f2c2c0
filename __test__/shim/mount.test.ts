import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { describeMounts, withMounts } from "./mounts.js";

interface Mounted {
  readonly at: string;
  readonly root: string;
  readonly flags: string[];
  readonly type: string;
  readonly options: string[];
  readonly optional: string[];
}

interface Thrown {
  readonly message: string;
  readonly code: string;
  readonly syscall: string;
}

const noLoop = !existsSync("/dev/loop-control") || spawnSync("mkfs.ext4", ["-V"]).status !== 0;

describeMounts("mountAll", () => {
  test.each([1, 20, 60, 120, 400])("mounts an overlay of %i layers", async (count) => {
    const { files, every, written, after } = await withMounts<Record<string, unknown>>(`
      await mountAll([overlay(${count})], rootfs);
      const files = fs.readdirSync(rootfs).length;
      const every = fs.readFileSync(path.join(rootfs, "every"), "utf8");
      fs.writeFileSync(path.join(rootfs, "new"), "new");
      const written = fs.readFileSync(path.join(folder, "snapshots/upper/fs/new"), "utf8");
      await unmountAll(rootfs);
      tell({ files, every, written, after: asBefore() });
    `);
    expect({ files, every, written, after }).toEqual({
      files: count + 1,
      every: "0",
      written: "new",
      after: true,
    });
  });

  test("leaves the working directory of the process as it was", async () => {
    const folders = await withMounts<string[]>(`
      const seen = [process.cwd(), fs.realpathSync(".")];
      await Promise.all([mountAll([overlay(100)], rootfs), mountAll([{ type: "tmpfs" }], make("other"))]);
      tell([...seen, process.cwd(), fs.realpathSync(".")]);
    `);
    expect(new Set(folders).size).toBe(1);
  });

  test("says that options do not fit, if layers have no folder in common", async () => {
    const { message, code, left } = await withMounts<Thrown & { left: boolean }>(`
      const long = (name, i) => path.join(name, String(i).padStart(60, "0"));
      const layers = Array.from({ length: 80 }, (_, i) => long(i % 2 ? "/one" : "/two", i));
      const error = await thrown(mountAll([{ type: "overlay", options: ["lowerdir=" + layers.join(":")] }], rootfs));
      tell({ ...error, left: asBefore() });
    `);
    expect(code).toBe("E2BIG");
    expect(message).toMatch(/the options have \d+ bytes, and the kernel takes \d+/);
    expect(message.length).toBeLessThan(1000);
    expect(left).toBe(true);
  });

  test("mounts one on the other, in their order", async () => {
    const { at, file } = await withMounts<{ at: string[]; file: string }>(`
      const data = make("data", { file: "content" });
      await mountAll([
        { type: "tmpfs", source: "tmpfs", options: ["size=1m"] },
        { type: "bind", source: make("with-folder/inner") + "/..", options: ["bind"] },
        { type: "bind", source: data, target: "/inner", options: ["rbind", "ro"] },
      ], rootfs);
      const file = fs.readFileSync(path.join(rootfs, "inner/file"), "utf8");
      tell({ at: below().map(({ at }) => path.relative(folder, at)), file });
    `);
    expect(at).toEqual(["bundle/rootfs", "bundle/rootfs", "bundle/rootfs/inner"]);
    expect(file).toBe("content");
  });

  test("mounts a file on a file", async () => {
    const content = await withMounts<string>(`
      fs.writeFileSync(path.join(rootfs, "hosts"), "of the image");
      const source = path.join(make("data", { hosts: "of the host" }), "hosts");
      await mountAll([{ type: "bind", source, target: "hosts", options: ["bind", "ro"] }], rootfs);
      tell(fs.readFileSync(path.join(rootfs, "hosts"), "utf8"));
    `);
    expect(content).toBe("of the host");
  });

  test.each([
    [
      ["nosuid", "nodev", "noexec"],
      ["rw", "nosuid", "nodev", "noexec"],
    ],
    [["ro"], ["ro"]],
    [["ro", "rw"], ["rw"]],
    [["nosuid", "suid", "noexec", "exec"], ["rw"]],
    [
      ["noatime", "nodiratime"],
      ["rw", "noatime", "nodiratime"],
    ],
    [["strictatime"], ["rw"]],
    [["defaults"], ["rw", "relatime"]],
  ])("sets the flags of a filesystem's mount: %j", async (options, expected) => {
    const [mounted] = await withMounts<Mounted[]>(`
      await mountAll([{ type: "tmpfs", source: "x", options: ${JSON.stringify([...options, "size=64k"])} }], rootfs);
      tell(below());
    `);
    expect(mounted?.flags).toEqual(expect.arrayContaining(expected));
    expect(mounted?.flags.filter((flag) => flag !== "relatime").toSorted()).toEqual(
      expected.filter((flag) => flag !== "relatime").toSorted(),
    );
    expect(mounted?.options).toContain("size=64k");
  });

  test("sets the flags of a bind, and leaves its source as it is", async () => {
    const { mounted, refused, source } = await withMounts<{
      mounted: Mounted;
      refused: string;
      source: string;
    }>(`
      const data = make("data", { file: "1" });
      await mountAll([{ type: "bind", source: data, options: ["rbind", "ro", "nosuid", "noatime"] }], rootfs);
      let refused;
      try { fs.writeFileSync(path.join(rootfs, "file"), "2"); } catch ({ code }) { refused = code; }
      fs.writeFileSync(path.join(data, "file"), "3");
      tell({ mounted: below()[0], refused, source: fs.readFileSync(path.join(rootfs, "file"), "utf8") });
    `);
    expect(mounted.flags).toEqual(expect.arrayContaining(["ro", "nosuid", "noatime"]));
    expect(refused).toBe("EROFS");
    expect(source).toBe("3");
  });

  test("keeps the flags that a bind's source has, unless an option takes them back", async () => {
    const flags = await withMounts<string[][]>(`
      const source = make("source");
      await mountAll([{ type: "tmpfs", options: ["nosuid", "noexec", "ro"] }], source);
      const flagsOf = async (options) => {
        await mountAll([{ type: "bind", source, options: ["bind", ...options] }], rootfs);
        const flags = below().findLast(({ at }) => at === rootfs).flags;
        await unmountAll(rootfs);
        return flags;
      };
      tell([await flagsOf([]), await flagsOf(["nodev"]), await flagsOf(["nodev", "suid", "exec"])]);
    `);
    expect(flags[0]).toEqual(expect.arrayContaining(["ro", "nosuid", "noexec"]));
    expect(flags[1]).toEqual(expect.arrayContaining(["ro", "nosuid", "noexec", "nodev"]));
    expect(flags[2]).toEqual(expect.arrayContaining(["ro", "nodev"]));
    expect(flags[2]).not.toEqual(expect.arrayContaining(["nosuid"]));
    expect(flags[2]).not.toEqual(expect.arrayContaining(["noexec"]));
  });

  test("changes a mount that is there", async () => {
    const { changed, count } = await withMounts<{ changed: Mounted; count: number }>(`
      const tmpfs = { type: "tmpfs", source: "x" };
      await mountAll([{ ...tmpfs, options: ["size=64k"] }, { ...tmpfs, options: ["remount", "ro", "size=128k"] }], rootfs);
      tell({ changed: below()[0], count: below().length });
    `);
    expect(count).toBe(1);
    expect(changed.options).toEqual(expect.arrayContaining(["ro", "size=128k"]));
  });

  test.each([
    ["private", []],
    ["shared", [expect.stringMatching(/^shared:/)]],
    ["rslave", [expect.stringMatching(/^master:/)]],
    ["unbindable", ["unbindable"]],
  ])("sets the propagation %s", async (option, expected) => {
    const mounted = await withMounts<Mounted>(`
      const source = make("source");
      await mountAll([{ type: "tmpfs", options: ["rshared"] }], source);
      await mountAll([{ type: "bind", source, options: ["rbind", "ro", "${option}"] }], rootfs);
      tell(below().find(({ at }) => at === rootfs));
    `);
    expect(mounted.optional).toEqual(expected);
    expect(mounted.flags).toContain("ro");
  });

  test("lets what is private below have no part in what happens above", async () => {
    const seen = await withMounts<boolean[]>(`
      const source = make("source");
      await mountAll([{ type: "tmpfs", options: ["shared"] }], source);
      for (const name of ["inner", "later"]) fs.mkdirSync(path.join(source, name));
      const trees = { rprivate: make("one"), rslave: make("two") };
      for (const [option, tree] of Object.entries(trees)) {
        await mountAll([{ type: "bind", source, options: ["rbind", option] }], tree);
      }
      await mountAll([{ type: "tmpfs", target: "later" }], source);
      const isThere = (tree) => below().some(({ at }) => at === path.join(tree, "later"));
      tell([isThere(source), isThere(trees.rprivate), isThere(trees.rslave)]);
    `);
    expect(seen).toEqual([true, false, true]);
  });

  test.skipIf(noLoop)(
    `makes a disk of a file${noLoop ? " (skipped: needs loop devices and mkfs.ext4)" : ""}`,
    async () => {
      const result = await withMounts<Record<string, unknown>>(`
      const image = path.join(folder, "disk");
      fs.writeFileSync(image, "");
      fs.truncateSync(image, 4 << 20);
      const { status } = spawnSync("mkfs.ext4", ["-q", image]);
      const loops = () => fs.readdirSync("/sys/block").filter((name) => {
        try { return fs.readFileSync(\`/sys/block/\${name}/loop/backing_file\`, "utf8").startsWith(folder); } catch { return false; }
      });
      await mountAll([{ type: "ext4", source: image, options: ["loop", "rw", "noatime"] }], rootfs);
      fs.writeFileSync(path.join(rootfs, "kept"), "kept");
      const used = loops().length;
      await unmountAll(rootfs);
      await mountAll([{ type: "ext4", source: image, options: ["loop", "ro"] }], rootfs);
      const kept = fs.readFileSync(path.join(rootfs, "kept"), "utf8");
      const { flags, source } = below()[0];
      const readOnly = fs.readFileSync(\`/sys/block/\${path.basename(source)}/ro\`, "utf8").trim();
      await unmountAll(rootfs);
      while (loops().length > 0) await new Promise((done) => setTimeout(done, 10));
      const error = await thrown(mountAll([{ type: "ext4", source: "/no/such", options: ["loop"] }], rootfs));
      tell({ status, used, kept, ro: flags.includes("ro"), readOnly, error, after: asBefore() });
    `);
      expect(result).toMatchObject({
        status: 0,
        used: 1,
        kept: "kept",
        ro: true,
        readOnly: "1",
        after: true,
      });
      expect(result["error"]).toMatchObject({
        code: "ENOENT",
        message: expect.stringContaining('"/no/such"') as string,
      });
    },
  );

  test("takes back what it has made when one fails, and leaves what others have mounted", async () => {
    const { error, left, source } = await withMounts<{ error: Thrown; left: string[]; source: string[] }>(`
      await mountAll([{ type: "tmpfs", options: ["shared"] }], rootfs);
      const host = make("host");
      await mountAll([{ type: "tmpfs", options: ["rshared"] }], host);
      fs.mkdirSync(path.join(host, "inner"));
      await mountAll([{ type: "tmpfs", target: "inner" }], host);
      const error = await thrown(mountAll([
        { type: "bind", source: host, options: ["rbind"] },
        { type: "tmpfs", target: "inner" },
        { type: "tmpfs", target: "none" },
      ], rootfs));
      const at = below().map(({ at }) => path.relative(folder, at));
      tell({ error, left: at, source: fs.readdirSync(host) });
    `);
    expect(error).toMatchObject({ code: "ENOENT", syscall: "mount" });
    expect(error.message).toMatch(/^ENOENT: mounts\[2\] \(type "tmpfs", .*target "none" in ".*"/);
    expect(left).toEqual(["bundle/rootfs", "host", "host/inner"]);
    expect(source).toEqual(["inner"]);
  });

  test.each([
    [{ type: "overlay", options: ["lowerdir=/:/no/such"] }, "ENOENT", 'its lowerdir "/no/such" does not'],
    [{ type: "bind", source: "/no/such", options: ["bind"] }, "ENOENT", 'its source "/no/such" does not'],
    [{ type: "none-such" }, "ENODEV", 'the kernel has no filesystem "none-such"'],
    [{ type: "tmpfs", options: ["none=1"] }, "EINVAL", "does not take these options"],
    [
      { type: "ext4", source: "/proc/version" },
      "ENOTBLK",
      'its source "/proc/version" is not a block device',
    ],
    [{ type: "tmpfs", target: "a/b" }, "ENOENT", 'the target "a/b"'],
    [{ type: "tmpfs", options: ["X-containerd.mkdir.path=/x"] }, "EINVAL", "X-containerd.mkdir.path=/x"],
    [{ type: "fuse3.none", target: "none" }, "ENOENT", 'the target "none"'],
  ])("says why it fails: %j", async (mount, code, text) => {
    const { error, left } = await withMounts<{ error: Thrown; left: boolean }>(`
      tell({ error: await thrown(mountAll([${JSON.stringify(mount)}], rootfs)), left: asBefore() });
    `);
    expect(error.code).toBe(code);
    expect(error.message).toContain(text);
    expect(error.message).toContain(`type ${JSON.stringify(mount.type)}`);
    expect(left).toBe(true);
  });

  test("has the program of a filesystem in user space mount it", async () => {
    const { args, error, inside } = await withMounts<{ args: string; error: Thrown; inside: Thrown }>(`
      const bin = make("bin");
      const program = (name, text) => fs.writeFileSync(path.join(bin, name), "#!/bin/sh\\n" + text, { mode: 0o755 });
      program("mount.fuse3", 'printf "%s\\\\n" "$@" > "' + folder + '/args"; exec mount -t tmpfs x "$2"');
      program("mount.fuse", "echo it failed >&2; exit 3");
      process.env.PATH = bin + ":" + process.env.PATH;
      await mountAll([{ type: "fuse3.layers", source: "src", options: ["ro", "lowerdir=/a:/b"] }], rootfs);
      const args = fs.readFileSync(path.join(folder, "args"), "utf8").replace(rootfs, "ROOTFS");
      const error = await thrown(mountAll([{ type: "fuse.layers", source: "src" }], rootfs));
      fs.mkdirSync(path.join(rootfs, "inside"));
      tell({ args, error, inside: await thrown(mountAll([{ type: "fuse3.layers", target: "inside" }], rootfs)) });
    `);
    expect(args).toBe("src\nROOTFS\n-o\nro\n-o\nlowerdir=/a:/b\n-t\nlayers\n");
    expect(inside.message).toMatch(/mount\.fuse3 mounts the root filesystem itself, and nothing inside$/);
    expect(error.message).toMatch(/mount\.fuse ended with exit status: 3: it failed$/);
  });

  test("makes no folder: one that is missing is named", async () => {
    const error = await withMounts<Thrown>(
      `tell(await thrown(mountAll([{ type: "tmpfs" }], path.join(folder, "none"))));`,
    );
    expect(error.code).toBe("ENOENT");
    expect(error.message).toMatch(/the root filesystem's folder ".*\/none": no such file or directory/);
  });
});
