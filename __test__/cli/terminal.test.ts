import { readFileSync } from "node:fs";
import { createServer, type Server } from "containerd-shim-protos";
import { Status, Task } from "containerd-shim-protos/task/v3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { RawServer } from "../helpers/raw-peer.js";
import { needsTerminal, noTerminal, onTerminal, TerminalShimctl, visible } from "./shimctl.js";
import { bootstrap, State } from "./state.js";

/** The last process that a process has started, and so on: with `script`, what runs on its terminal. */
function innermost(pid: number): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return children === "" ? pid : innermost(Number(children.split(" ").at(-1)));
}

describe.skipIf(noTerminal)(`shimctl on a terminal${needsTerminal}`, () => {
  const state = new State();
  let server: Server;
  let hung: RawServer;
  beforeAll(async () => {
    server = createServer().add(Task, {
      connect: () => ({ shimPid: process.pid }),
      state: () => ({ status: Status.RUNNING }),
    });
    state.bundle("default", "web", bootstrap(await server.listen(state.socket("web"))));
    hung = await RawServer.listen(state.socket("hung"));
    state.bundle("default", "hung", bootstrap(hung.address));
  });
  afterAll(async () => {
    await server?.close();
    await hung?.[Symbol.asyncDispose]();
  });

  const watch = () => ["ls", ...state.options, "--watch", "--interval", "30ms"];

  it("shows the cursor again before Ctrl-Z stops it", async () => {
    await using child = new TerminalShimctl(watch());
    await child.says("running");
    child.type("\x1a");
    // `script` stops with its child, perhaps before it has passed on what the child wrote.
    const resuming = setInterval(() => process.kill(child.pid, "SIGCONT"), 50);
    await child.says("\x1b[?25h").finally(() => clearInterval(resuming));
    expect(child.exited).toBe(false);
  });

  it.each(["SIGHUP", "SIGQUIT", "SIGTERM"] as const)(
    "leaves the terminal as it was after %s from elsewhere",
    async (signal) => {
      await using child = new TerminalShimctl(watch(), {}, "; stty -a");
      await child.says("running");
      process.kill(innermost(child.pid), signal);
      const screen = visible((await child.outcome()).stdout);
      expect(screen).toMatch(/␛\[\?25l[^]*␛\[\?25h[^]*speed/);
      expect(screen).toMatch(/[^-]icanon/);
    },
  );

  it("prints no escape sequences on a dumb one, and nothing twice", async () => {
    const args = ["ls", ...state.options, "--timeout", "700ms"];
    const { stdout } = await onTerminal(args, { env: { TERM: "dumb" } });
    expect(visible(stdout)).not.toContain("␛");
    expect(stdout.match(/web/g)).toHaveLength(2);
  });
});
