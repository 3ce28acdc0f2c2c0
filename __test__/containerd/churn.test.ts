import { existsSync, readdirSync } from "node:fs";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Containerd } from "./containerd.js";
import { taskFolder } from "./leftovers.js";
import { built, describeWith } from "./releases.js";
import { EventsSeen, RUNC, ShimUser, traces } from "./shims.js";

/** How many containers, and how many at a time. */
const CONTAINERS = Number(process.env["CHURN_CONTAINERS"] ?? 48);
const AT_ONCE = 12;
const TOPICS = ["create", "start", "exit", "delete"].map((name) => `/tasks/${name}`);

describeWith(built, `${CONTAINERS} containers with examples/shim-runc, ${AT_ONCE} at a time`, () => {
  let containerd: Containerd;
  let user: ShimUser;
  let events: EventsSeen;

  beforeAll(async () => {
    containerd = await Containerd.start({ release: built });
    user = new ShimUser(containerd, RUNC);
    events = await EventsSeen.of(containerd);
    // What the first one makes for all is there from here on.
    await user.run("first", ["/bin/true"]);
  });

  afterAll(async () => {
    events?.[Symbol.dispose]();
    await containerd?.stop();
  });

  test(
    "each print, end and are reported once, and leave nothing",
    // What is lost once in hundreds of times must show.
    { retry: 0, timeout: 60_000 + CONTAINERS * 2_000 },
    async () => {
      const before = traces(containerd);
      const ids = Array.from({ length: CONTAINERS }, (_, index) => `c${index}`);
      const wrong: unknown[] = [];
      const left = ids.values();
      const work = async () => {
        for (const id of left) {
          const { code, stdout, stderr } = await user.run(id, ["/bin/sh", "-c", `echo ${id}; exit 7`]);
          if (code !== 7 || stdout !== `${id}\n`) wrong.push({ id, code, stdout, stderr });
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, work));
      expect(wrong).toEqual([]);

      await vi.waitFor(() => expect(traces(containerd)).toEqual(before), 20_000);
      expect(existsSync(taskFolder(containerd.folder)) && readdirSync(taskFolder(containerd.folder))).toEqual(
        [],
      );
      expect(await containerd.ctr.containers()).not.toContainEqual(expect.stringMatching(/^c\d+$/));

      await vi.waitFor(() => expect(events.topics(ids.at(-1) ?? "")).toEqual(TOPICS), 10_000);
      const others = ids.filter((id) => events.topics(id).join() !== TOPICS.join());
      expect(others.map((id) => [id, events.topics(id)])).toEqual([]);
      const count = (topic: string) => ids.filter((id) => events.topics(id).includes(topic)).length;
      console.log(TOPICS.map((topic) => `${topic}: ${count(topic)}`).join(", "));
    },
  );
});
