import { afterAll, beforeAll, expect, test } from "vitest";
import { Containerd } from "./containerd.js";
import { describeWithEach } from "./releases.js";

describeWithEach("a daemon of our own", (release) => {
  let containerd: Containerd;

  beforeAll(async () => {
    containerd = await Containerd.start({ release });
  });

  afterAll(async () => {
    await containerd?.stop();
  });

  test("keeps its containers across a SIGKILL", async () => {
    await containerd.runContainer("kept", { args: ["/bin/sleep", "100000"] });
    const before = await containerd.ctr.task("kept");
    await containerd.kill();
    await containerd.restart();
    expect(await containerd.ctr.task("kept")).toEqual(before);
  });
});
