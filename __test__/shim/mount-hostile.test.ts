import { expect, test } from "vitest";
import { describeMounts, withMounts } from "./mounts.js";

interface Result {
  readonly at: string[];
  readonly code: string | undefined;
  readonly after: boolean;
}

/** Mounts at a target of an image that a script has made at `rootfs`; nothing is mounted outside. */
function mountAt(target: string, image: string): Promise<Result> {
  return withMounts<Result>(`
    const outside = make("outside/deep");
    fs.mkdirSync(path.join(rootfs, "etc/deep"), { recursive: true });
    ${image}
    const error = await thrown(mountAll([{ type: "tmpfs", target: ${JSON.stringify(target)} }], rootfs));
    const at = below().map(({ at }) => path.relative(rootfs, at));
    await unmountAll(rootfs);
    tell({ at, code: error?.code, after: asBefore() });
  `);
}

describeMounts("mounts in a hostile image", () => {
  test.each([
    ["../../outside/deep", "", []],
    ["etc/deep/../../../../outside", "", []],
    ["..", "", [""]],
    ["../../..", "", [""]],
    ["etc/../../..", "", [""]],
    ["/etc/deep", "", ["etc/deep"]],
    ["link", `fs.symlinkSync(outside, path.join(rootfs, "link"));`, []],
    ["link", `fs.symlinkSync("../../outside", path.join(rootfs, "link"));`, []],
    ["link", `fs.symlinkSync("/", path.join(rootfs, "link"));`, [""]],
    ["link", `fs.symlinkSync("/etc", path.join(rootfs, "link"));`, ["etc"]],
    ["link/deep", `fs.symlinkSync("../../../etc", path.join(rootfs, "link"));`, ["etc/deep"]],
    ["link", `fs.symlinkSync("/proc/self/root" + outside, path.join(rootfs, "link"));`, []],
    ["link", `fs.symlinkSync("link", path.join(rootfs, "link"));`, []],
    ["a/deep", `fs.symlinkSync(path.dirname(outside), path.join(rootfs, "a"));`, []],
  ])("%s stays inside, with %s", async (target, image, at) => {
    const result = await mountAt(target, image);
    expect(result).toEqual({
      at,
      code: at.length > 0 ? undefined : (expect.stringMatching(/^(ENOENT|ELOOP)$/) as string),
      after: true,
    });
  });

  test("the root of a process that is seen in the image is no way out", async () => {
    const { at, code, after } = await withMounts<Result>(`
      const outside = make("outside");
      for (const name of ["proc", "etc"]) fs.mkdirSync(path.join(rootfs, name));
      await mountAll([{ type: "proc", source: "proc", target: "proc" }], rootfs);
      const target = "proc/self/root" + outside;
      const error = await thrown(mountAll([{ type: "tmpfs", target }], rootfs));
      const at = below().map(({ at }) => path.relative(rootfs, at));
      await unmountAll(rootfs);
      tell({ at, code: error?.code, after: asBefore() });
    `);
    expect({ at, code, after }).toEqual({ at: ["proc"], code: "ENOENT", after: true });
  });

  test("a folder that is swapped for a link meanwhile never leads outside", async () => {
    const { rounds, escaped, inside, after } = await withMounts<Record<string, unknown>>(`
      const outside = make("outside/deep");
      fs.mkdirSync(path.join(rootfs, "a/deep"), { recursive: true });
      const stop = await startSwapping(path.dirname(outside));
      const inOutside = () => below().some(({ at }) => at.startsWith(path.dirname(outside)));
      let [rounds, escaped, inside] = [0, false, 0];
      for (; rounds < 400; rounds++) {
        await thrown(mountAll([{ type: "bind", source: make("data"), target: "a/deep", options: ["bind", "ro"] }], rootfs));
        escaped ||= inOutside();
        if (below().length > 0) inside++;
        await unmountAll(rootfs);
        escaped ||= inOutside();
      }
      await stop();
      await unmountAll(rootfs);
      tell({ rounds, escaped, inside: inside > 0, after: asBefore() });
    `);
    expect({ rounds, escaped, inside, after }).toEqual({
      rounds: 400,
      escaped: false,
      inside: true,
      after: true,
    });
  });

  test("a link that was put in the way of what is to be unmounted unmounts nothing outside", async () => {
    const { error, outside } = await withMounts<{ error: string; outside: number }>(`
      // What the image's folder is swapped for is a tree of the same names, with mounts of the host.
      const host = make("host/deep");
      await mountAll([{ type: "tmpfs" }], host);
      fs.mkdirSync(path.join(rootfs, "a/deep"), { recursive: true });
      const stop = await startSwapping(path.dirname(host));
      let outside = 400;
      for (let round = 0; round < 400; round++) {
        await thrown(mountAll([{ type: "tmpfs", target: "a/deep" }], rootfs));
        await thrown(unmountAll(rootfs));
        if (below().filter(({ at }) => at === host).length !== 1) outside--;
      }
      await stop();
      const error = (await thrown(unmountAll(rootfs)))?.message ?? "";
      tell({ error, outside });
    `);
    expect({ error, outside }).toEqual({ error: "", outside: 400 });
  });
});
