import { mkdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { type Client, connect, type Connection } from "containerd-shim-protos";
import type { Task } from "containerd-shim-protos/task/v3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Containerd } from "./containerd.js";
import { showLogOfFailures, taskClient } from "./direct.js";
import { describeWithEach } from "./releases.js";
import { OWN, RUNC, ShimUser } from "./shims.js";

const TMPFS = { type: "tmpfs", source: "tmpfs" };

describeWithEach("a hostile image", (release) => {
  describe.each([OWN, RUNC])("$name", (shim) => {
    let containerd: Containerd;
    let connection: Connection;
    let task: Client<typeof Task>;

    beforeAll(async () => {
      containerd = await Containerd.start({ release });
      await new ShimUser(containerd, shim).runDetached("box", ["/bin/sleep", "100000"]);
      connection = await connect(containerd.shimAddress("box"));
      task = taskClient(connection, release);
    });

    afterAll(async () => {
      try {
        await connection?.close();
      } finally {
        await containerd?.stop();
      }
    });

    showLogOfFailures(() => containerd);

    /** What is mounted, in the order of the kernel. */
    const mounted = () =>
      readFileSync("/proc/self/mountinfo", "utf8")
        .split("\n")
        .map((line) => line.split(" ")[4] ?? "")
        .filter((path) => path.startsWith(containerd.folder));

    test.each([
      ["a link", "link", (image: string, outside: string) => symlinkSync(outside, join(image, "link"))],
      ["a link upwards", "link", (image: string) => symlinkSync("../../outside", join(image, "link"))],
      [
        "a folder behind a link",
        "link/outside",
        (image: string) => symlinkSync("../..", join(image, "link")),
      ],
      ["a path upwards", "../../outside", () => undefined],
    ])("has nothing mounted outside, by a target that is %s", async (_, target, prepare) => {
      const { folder } = containerd;
      const [image, outside, bundle] = ["image", "outside", "bundle"].map((name) => {
        rmSync(join(folder, name), { recursive: true, force: true });
        mkdirSync(join(folder, name));
        return join(folder, name);
      }) as [string, string, string];
      prepare(image, outside);
      const before = mounted();
      // Whatever was mounted, runc then finds no spec.
      const create = task.create({
        id: "hostile",
        bundle,
        rootfs: [
          { type: "bind", source: image, options: ["rbind", "rw"] },
          { ...TMPFS, target },
        ],
      });
      await expect(create).rejects.toThrow(/rootfs|config\.json/);
      expect(mounted()).toEqual(before);
    });

    test("has nothing mounted afterwards in a bundle behind a link", async () => {
      const { folder } = containerd;
      const bundle = join(folder, "link-to-bundle");
      mkdirSync(join(folder, "real-bundle"));
      symlinkSync(join(folder, "real-bundle"), bundle);
      const before = mounted();
      await expect(task.create({ id: "linked", bundle, rootfs: [TMPFS] })).rejects.toThrow(/config\.json/);
      expect(mounted()).toEqual(before);
    });
  });
});
