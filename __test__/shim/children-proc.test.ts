import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { Script } from "../helpers/script.js";

/** Runs what follows in namespaces of its own. */
const APART = ["unshare", "--mount", "--pid", "--fork"];

const works = spawnSync("unshare", [...APART.slice(1), "true"]).status === 0;

describe.skipIf(!works)("without a /proc of its own", () => {
  /** What a process says that wants children. */
  async function whyNot(...wrapper: string[]): Promise<string[]> {
    await using script = new Script(
      `
      import { childrenOfProcess } from "containerd-shim-protos/shim/process";
      try { childrenOfProcess(); } catch ({ message }) { say(message); }
    `,
      "",
      { wrapper },
    );
    return await script.rest();
  }

  test("a process adopts nobody, whose end it would not see, and says why", async () => {
    expect(await whyNot(...APART)).toEqual([
      expect.stringMatching(/^\/proc is of another pid namespace: this process is \d+ there, not 1$/),
    ]);
    expect(await whyNot("unshare", "--mount", "sh", "-c", 'umount --lazy /proc && exec "$0" "$@"')).toEqual([
      "children are adopted only where /proc is mounted",
    ]);
  });

  test("a process adopts children as the first of its namespace", async () => {
    expect(await whyNot(...APART, "--mount-proc")).toEqual([]);
  });
});
