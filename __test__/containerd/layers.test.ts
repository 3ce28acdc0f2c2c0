import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { Containerd } from "./containerd.js";
import { makeImage } from "./image.js";
import { describeWithEach, packaged } from "./releases.js";
import { OWN, RUNC, ShimUser, traces } from "./shims.js";

const COUNTS = [20, 60, 120];

describeWithEach("an image of many layers", (release) => {
  let containerd: Containerd;

  beforeAll(async () => {
    containerd = await Containerd.start({ release, overlay: true });
    for (const count of COUNTS) {
      const image = join(containerd.folder, `${count}.tar`);
      makeImage(nameOf(count), layersOf(containerd.folder, count), image);
      const local = release === packaged ? [] : ["--local"];
      const all = ["image", "import", ...local, "--snapshotter", "overlayfs", image];
      expect(await containerd.ctr.command(all)).toMatchObject({ code: 0 });
    }
  });

  afterAll(async () => {
    await containerd?.stop();
  });

  beforeEach(({ onTestFailed }) => {
    containerd.takeLog();
    onTestFailed(() => console.error(containerd.takeLog()));
  });

  describe.each([OWN, RUNC])("$name", (shim) => {
    test.each(COUNTS)("runs on %i, and leaves nothing mounted", async (count) => {
      const before = traces(containerd);
      const run = new ShimUser(containerd, shim).runArguments("layers", [], ["--rm"]);
      const flags = [...run.slice(0, run.indexOf("--rootfs")), "--snapshotter", "overlayfs"];
      const script = "cat /layers/* /top; echo written > /top; cat /top";
      const result = await containerd.ctr.command([
        ...flags,
        nameOf(count),
        "layers",
        "/bin/sh",
        "-c",
        script,
      ]);
      // containerd 2.x warns of an old cgroup on stderr.
      expect(result, result.stderr).toMatchObject({ code: 0 });
      const lines = result.stdout.trim().split("\n");
      const layers = Array.from({ length: count - 1 }, (_, i) => `layer ${i + 1}`);
      expect(lines.slice(0, -2).toSorted()).toEqual(layers.toSorted());
      expect(lines.slice(-2)).toEqual([`layer ${count - 1}`, "written"]);
      await vi.waitFor(() => expect(traces(containerd)).toEqual(before), 10_000);
    });
  });
});

function nameOf(count: number): string {
  return `example.com/layers-${count}:latest`;
}

/** The root filesystem, and layers with a file of their own each, and one that all have. */
function layersOf(folder: string, count: number): string[] {
  const rootfs = join(folder, "rootfs");
  const others = Array.from({ length: count - 1 }, (_, i) => {
    const layer = join(folder, `layers-${count}`, String(i + 1));
    mkdirSync(join(layer, "layers"), { recursive: true });
    writeFileSync(join(layer, "layers", String(i + 1)), `layer ${i + 1}\n`);
    writeFileSync(join(layer, "top"), `layer ${i + 1}\n`);
    return layer;
  });
  return [rootfs, ...others];
}
