import { spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import { supportsIdMapping } from "containerd-shim-protos/shim/mount";
import { describe, expect, test } from "vitest";
import { withMounts } from "./mounts.js";

const missing = (await supportsIdMapping(tmpdir())) ? "" : " (skipped: needs root and Linux 5.19)";

const MAPPED = `const mapped = ["uidmap=0:100000:65536", "gidmap=0:200000:65536"];
const owner = (file) => { const { uid, gid } = fs.statSync(path.join(rootfs, file)); return [uid, gid]; };`;

describe.skipIf(missing !== "")(`mounts with mapped ids${missing}`, () => {
  test("show the files of a bind as another's", async () => {
    const { root, other, flags, made, after } = await withMounts<Record<string, unknown>>(`
      ${MAPPED}
      const data = make("data", { file: "1", other: "2" });
      fs.chownSync(path.join(data, "other"), 5, 6);
      await mountAll([{ type: "bind", source: data, options: ["rbind", "ro", "nosuid", ...mapped, "slave"] }], rootfs);
      const [root, other, { flags }] = [owner("file"), owner("other"), below()[0]];
      const count = below().length;
      await unmountAll(rootfs);
      await mountAll([{ type: "bind", source: data, options: ["rbind", "rw", ...mapped] }], rootfs);
      fs.chownSync(path.join(rootfs, "other"), 100007, 200008);
      await unmountAll(rootfs);
      const { uid, gid } = fs.statSync(path.join(data, "other"));
      tell({ root, other, flags: [...flags, count], made: [uid, gid], after: asBefore() });
    `);
    expect({ root, other, after }).toEqual({ root: [100000, 200000], other: [100005, 200006], after: true });
    expect(flags).toEqual(expect.arrayContaining(["ro", "nosuid", 1]));
    expect(made).toEqual([7, 8]);
  });

  test.each([1, 3, 120])("show the files of an overlay's %i layers as another's", async (count) => {
    const { layers, upper, seen, after } = await withMounts<Record<string, unknown>>(`
      ${MAPPED}
      const prepared = overlay(${count}, mapped);
      fs.chownSync(path.join(folder, "snapshots/upper/fs"), 100000, 200000);
      await mountAll([prepared], rootfs);
      const layers = owner("of-0");
      fs.writeFileSync(path.join(rootfs, "new"), "new");
      fs.chownSync(path.join(rootfs, "new"), 100007, 200008);
      const { uid, gid } = fs.statSync(path.join(folder, "snapshots/upper/fs/new"));
      const seen = below().map(({ at, type }) => [path.relative(folder, at), type]);
      await unmountAll(rootfs);
      tell({ layers, upper: [uid, gid], seen, after: asBefore() });
    `);
    expect(layers).toEqual([100000, 200000]);
    expect(upper).toEqual([100007, 200008]);
    // The layers with mapped ids are mounted where nobody else sees them.
    expect(seen).toEqual([["bundle/rootfs", "overlay"]]);
    expect(after).toBe(true);
  });

  test("are made of several ranges", async () => {
    const owners = await withMounts<number[][]>(`
      ${MAPPED}
      const data = make("data", { a: "", b: "" });
      fs.chownSync(path.join(data, "b"), 7, 7);
      const ranges = ["uidmap=0:1000:1,7:5000:2", "gidmap=0:2000:1,7:6000:2"];
      await mountAll([{ type: "bind", source: data, options: ["bind", ...ranges] }], rootfs);
      tell([owner("a"), owner("b")]);
    `);
    expect(owners).toEqual([
      [1000, 2000],
      [5000, 6000],
    ]);
  });

  test("propagate nowhere while they are made", async () => {
    const { outside, after } = await withMounts<{ outside: boolean; after: boolean }>(
      `
      ${MAPPED}
      // Another namespace, whose mounts are those of this one.
      const watcher = spawn("unshare", ["--mount", "--propagation", "unchanged", "sh", "-c", "echo ready; cat; cat /proc/self/mountinfo"], { stdio: ["pipe", "pipe", "inherit"] });
      const lines = [];
      watcher.stdout.on("data", (chunk) => lines.push(chunk));
      await once(watcher.stdout, "data");
      await mountAll([overlay(3, mapped)], rootfs);
      watcher.stdin.end();
      await once(watcher, "close");
      const seen = Buffer.concat(lines).toString().split("\\n").map((line) => line.split(" ")[4]);
      const outside = seen.includes("/proc/sys") || !seen.includes(rootfs);
      await unmountAll(rootfs);
      tell({ outside, after: asBefore() });
    `,
      "mount --make-rshared /",
    );
    expect({ outside, after }).toEqual({ outside: false, after: true });
  });

  test("leave no process behind, and take no exit of another", async () => {
    const { children, exits } = await withMounts<{ children: string; exits: (number | null)[] }>(`
      ${MAPPED}
      const data = make("data", { file: "1" });
      const ended = Array.from({ length: 10 }, async () => {
        const [code] = await once(spawn("sh", ["-c", "sleep 0.1; exit 7"]), "exit");
        return code;
      });
      const made = Array.from({ length: 10 }, (_, i) =>
        mountAll([{ type: "bind", source: data, options: ["bind", ...mapped] }], make(\`at-\${i}\`)));
      await Promise.all(made);
      const exits = await Promise.all(ended);
      const tasks = fs.readdirSync("/proc/self/task");
      const children = tasks.map((task) => fs.readFileSync(\`/proc/self/task/\${task}/children\`, "utf8")).join("");
      await unmountAll(folder);
      tell({ children, exits });
    `);
    expect(children).toBe("");
    expect(exits).toEqual(Array.from({ length: 10 }, () => 7));
  });

  test.each([
    [["uidmap=0:1:1"], "only with both options"],
    [["uidmap=0:1", "gidmap=0:1:1"], "uidmap=0:1: a mapping has the form container:host:size"],
    [["uidmap=0:1:1", "gidmap=0:1:1:"], "gidmap=0:1:1:: a mapping has the form"],
    [["uidmap=0:1:1,0:5:5", "gidmap=0:1:1"], "uid_map of a user namespace: invalid argument"],
  ])("are refused if they make no sense: %j", async (options, text) => {
    const { error, after } = await withMounts<{ error: { code: string; message: string }; after: boolean }>(`
      const mount = { type: "bind", source: make("data"), options: ["bind", ...${JSON.stringify(options)}] };
      tell({ error: await thrown(mountAll([mount], rootfs)), after: asBefore() });
    `);
    expect(error.code).toBe("EINVAL");
    expect(error.message).toContain(text);
    expect(after).toBe(true);
  });

  test("say that a filesystem cannot", async () => {
    const { error, supported, after } = await withMounts<{
      error: { message: string };
      supported: boolean;
      after: boolean;
    }>(`
      ${MAPPED}
      const mount = { type: "bind", source: "/proc/sys", options: ["rbind", ...mapped] };
      const error = await thrown(mountAll([mount], rootfs));
      tell({ error, supported: await supportsIdMapping("/proc"), after: asBefore() });
    `);
    expect(error.message).toContain("this filesystem does not map ids");
    expect({ supported, after }).toEqual({ supported: false, after: true });
  });
});

describe("supportsIdMapping", () => {
  test("leaves nothing mounted, and says no of a folder that does not exist", async () => {
    const table = () => spawnSync("cat", ["/proc/self/mountinfo"], { encoding: "utf8" }).stdout;
    const before = table();
    await supportsIdMapping("/");
    expect(await supportsIdMapping("/no/such/folder")).toBe(false);
    expect(table()).toBe(before);
  });
});
