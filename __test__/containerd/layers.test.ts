import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { supportsIdMapping } from "containerd-shim-protos/shim/mount";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Containerd } from "./containerd.js";
import { showLogOfFailures } from "./direct.js";
import { makeImage } from "./image.js";
import { describeWithEach, packaged } from "./releases.js";
import { OWN, RUNC, ShimUser, traces } from "./shims.js";

const COUNTS = [20, 60, 120];

const kernelMapsIds = await supportsIdMapping(tmpdir());

describeWithEach("an image of many layers", (release) => {
  const needed = [
    ...(kernelMapsIds ? [] : ["Linux 5.19"]),
    ...(release === packaged ? ["containerd 2.x"] : []),
  ];
  const noIds = needed.length > 0 ? ` (skipped: needs ${needed.join(", ")})` : "";
  let containerd: Containerd;

  beforeAll(async () => {
    containerd = await Containerd.start({ release, overlay: true });
    // For processes of other ids, on their way to their root filesystem.
    chmodSync(containerd.folder, 0o711);
    for (const count of COUNTS) {
      const image = join(containerd.folder, `${count}.tar`);
      makeImage(nameOf(count), layersOf(containerd.folder, count), image);
      const local = release === packaged ? [] : ["--local"];
      const all = ["image", "import", ...local, "--snapshotter", "overlayfs", image];
      const { code, stderr } = await containerd.ctr.command(all);
      if (code !== 0) throw new Error(`ctr image import: ${stderr}`);
    }
  });

  afterAll(async () => {
    await containerd?.stop();
  });

  showLogOfFailures(() => containerd);

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

    test.skipIf(noIds !== "")(`shows its files to a user namespace as its own${noIds}`, async () => {
      const before = traces(containerd);
      const maps = ["--uidmap", "0:100000:65536", "--gidmap", "0:200000:65536", "--remap-labels"];
      const run = new ShimUser(containerd, shim).runArguments("ids", [], ["--rm", ...maps]);
      const flags = [...run.slice(0, run.indexOf("--rootfs")), "--snapshotter", "overlayfs"];
      const script = "cat /proc/self/uid_map; /bin/busybox ls -nd /layers/1 /top; echo new > /top; cat /top";
      const result = await containerd.ctr.command([...flags, nameOf(60), "ids", "/bin/sh", "-c", script]);
      expect(result, result.stderr).toMatchObject({ code: 0 });
      const lines = result.stdout.trim().split("\n");
      expect(lines[0]?.trim().split(/\s+/)).toEqual(["0", "100000", "65536"]);
      for (const line of lines.slice(1, 3)) expect(line).toMatch(/^-\S+\s+1\s+0\s+0\s/);
      expect(lines[3]).toBe("new");
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
