import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type Client, connect, createClient, packAny } from "containerd-shim-protos";
import { CheckpointOptionsSchema } from "containerd-shim-protos/runc";
import { Task as TaskV2 } from "containerd-shim-protos/task/v2";
import { Task } from "containerd-shim-protos/task/v3";
import { Containerd } from "./containerd.js";
import { showLogOfFailures } from "./direct.js";
import { type RecordedCall, type RecordedEvent, Recorder } from "./recording/recorder.js";
import { describeWithEach, packaged, toolOf } from "./releases.js";
import { RUNC, ShimUser } from "./shims.js";

const FOREVER = ["/bin/sleep", "100000"];
const SIGTERM = 15;
const SIGKILL = 9;

describeWithEach("the conversation of containerd and a shim", (release) => {
  let containerd: Containerd;

  beforeAll(async () => {
    containerd = await Containerd.start({ release });
  });

  afterAll(async () => {
    await containerd?.stop();
  });

  showLogOfFailures(() => containerd);

  test(
    "is the same with shim-runc as with containerd's own shim, except for what docs/shim-runc.md lists",
    { timeout: 120_000 },
    async () => {
      const own = await transcript("own", toolOf(release, "containerd-shim-runc-v2"));
      const ours = await transcript("ours", RUNC.runtime);
      expect(alike(ours.calls)).toEqual(alike(own.calls));
      // containerd's own shim may end before its last events are sent.
      expect(ours.events.filter((line) => !isLast(line))).toEqual(own.events.filter((line) => !isLast(line)));
      const topics = ours.events.filter(isLast).map((line) => line.slice(0, line.indexOf(" ")));
      expect(topics).toEqual(["/tasks/exit", "/tasks/delete", "/tasks/delete", "/tasks/delete"]);
    },
  );

  /** Runs the script with a shim. Returns the commands, the calls that they caused with their answers, and all events. */
  async function transcript(name: string, shim: string) {
    await using recorder = await Recorder.start(containerd, name, shim);
    const user = new ShimUser(containerd, { name, runtime: recorder.runtime });
    const lines: string[] = [];
    const seen: string[] = [];
    const step = async (command: string, work: () => Promise<unknown>) => {
      let result = "";
      try {
        const { code = 0 } = ((await work()) ?? {}) as { code?: unknown };
        result = String(code);
      } catch (error) {
        result = String((error as { code?: unknown }).code ?? error);
      }
      await containerd.ctr.tasks();
      const { calls, events } = recorder.take();
      lines.push(`# ${command}: ${result}`, ...callLines(calls));
      seen.push(...events.map(eventLine));
    };
    const stopped = (id: string) =>
      vi.waitFor(async () => expect((await containerd.ctr.task(id)).status).toBe("STOPPED"), 10_000);
    const kill = async (id: string) => {
      await user.task("kill", "--signal", "SIGKILL", id);
      await stopped(id);
    };

    await step("run", () => user.run("box", ["/bin/sh", "-c", "echo out; exit 7"]));
    await step("run a missing program", () => user.run("none", ["/no/such/program"]));
    await step("delete it", () => containerd.ctr.command(["container", "delete", "none"]));
    await step("run in the background", () =>
      user.runDetached("box", FOREVER, ["--memory-limit", "33554432"]),
    );
    await step("exec", () => user.exec("box", "e1", ["/bin/sh", "-c", "echo out; exit 5"]));
    await step("exec a missing program", () => user.exec("box", "e2", ["/no/such/program"]));
    await step("pause", () => user.task("pause", "box"));
    await step("exec in a paused container", () => user.exec("box", "e3", ["/bin/true"]));
    await step("resume", () => user.task("resume", "box"));
    await step("ps", () => user.task("ps", "box"));
    await step("metrics", () => user.task("metrics", "box"));
    await step("kill", () => kill("box"));
    await step("exec in a stopped container", () => user.exec("box", "e4", ["/bin/true"]));
    await step("delete", () => user.delete("box"));

    await step("run for calls", () => user.runDetached("box", FOREVER));
    await using connection = await connect(containerd.shimAddress("box"));
    const service = release === packaged ? TaskV2 : Task;
    const task = createClient(service, connection) as Client<typeof Task>;
    const spec = await execSpec("box");
    const calls: [string, () => Promise<unknown>][] = [
      ["state of a missing container", () => task.state({ id: "other" })],
      ["state of a missing exec", () => task.state({ id: "box", execId: "none" })],
      ["connect to a missing container", () => task.connect({ id: "other" })],
      ["start again", () => task.start({ id: "box" })],
      ["delete while it runs", () => task.delete({ id: "box" })],
      ["resume a running container", () => task.resume({ id: "box" })],
      ["exec", () => task.exec({ id: "box", execId: "e", spec })],
      ["exec with an id in use", () => task.exec({ id: "box", execId: "e", spec })],
      ["state of an exec before it starts", () => task.state({ id: "box", execId: "e" })],
      ["kill an exec before it starts", () => task.kill({ id: "box", execId: "e", signal: SIGKILL })],
      ["start the exec", () => task.start({ id: "box", execId: "e" })],
      ["state of the exec", () => task.state({ id: "box", execId: "e" })],
      ["delete the exec while it runs", () => task.delete({ id: "box", execId: "e" })],
      ["pids", () => task.pids({ id: "box" })],
      ["resize without a terminal", () => task.resizePty({ id: "box", width: 80, height: 24 })],
      ["close a missing stdin", () => task.closeIO({ id: "box", stdin: true })],
      ["update", () => task.update({ id: "box", resources: resources({ memory: { limit: 16 << 20 } }) })],
      ["update with nonsense", () => task.update({ id: "box", resources: resources("nonsense") })],
      ["stats", () => task.stats({ id: "box" })],
      ["stats of a missing container", () => task.stats({ id: "other" })],
      [
        "checkpoint into a missing folder",
        () =>
          task.checkpoint({
            id: "box",
            path: "/proc/no/such/folder",
            options: packAny(CheckpointOptionsSchema, {}),
          }),
      ],
      [
        "kill the exec",
        async () =>
          Promise.all([
            task.wait({ id: "box", execId: "e" }),
            task.kill({ id: "box", execId: "e", signal: SIGKILL }),
          ]),
      ],
      ["kill the exec again", () => task.kill({ id: "box", execId: "e", signal: SIGTERM })],
      ["state of an ended exec", () => task.state({ id: "box", execId: "e" })],
      ["start an ended exec", () => task.start({ id: "box", execId: "e" })],
      ["delete the exec", () => task.delete({ id: "box", execId: "e" })],
      ["delete the exec again", () => task.delete({ id: "box", execId: "e" })],
      ["shut down while it runs", () => task.shutdown({ id: "box" })],
      [
        "kill",
        async () => Promise.all([task.wait({ id: "box" }), task.kill({ id: "box", signal: SIGKILL })]),
      ],
      ["kill again", () => task.kill({ id: "box", signal: SIGKILL })],
      ["state of an ended container", () => task.state({ id: "box" })],
      ["start an ended container", () => task.start({ id: "box" })],
      ["pause an ended container", () => task.pause({ id: "box" })],
      ["exec in an ended container", () => task.exec({ id: "box", execId: "f", spec })],
      ["wait for an ended container", () => task.wait({ id: "box" })],
    ];
    for (const [command, call] of calls) await step(command, call);
    await step("delete", () => user.delete("box"));
    return { calls: lines, events: seen };
  }

  async function execSpec(id: string) {
    const { Spec } = await containerd.ctr.containerInfo(id);
    const process = { ...Spec.process, args: FOREVER };
    const typeUrl = "types.containerd.io/opencontainers/runtime-spec/1/Process";
    return { typeUrl, value: Buffer.from(JSON.stringify(process)) };
  }
});

/**
 * The differences of the answers that docs/shim-runc.md lists: shim-runc's errors name the runc command that failed,
 * containerd's own the exit status of runc, and the path of criu's log differs.
 */
const DIFFERENCES =
  /runc did not terminate successfully: exit status 1: |OCI runtime (update|checkpoint) failed: | path= \S+dump\.log/g;

function alike(lines: readonly string[]): string[] {
  // The shim of 1.6 may be gone before it has answered the last call.
  return lines.map((line) =>
    line.replaceAll(DIFFERENCES, "").replace(/^(Shutdown .*) -> undefined$/, "$1 -> {}"),
  );
}

/** An event after which the shim is told to shut down: a delete, or the exit of the container that ends by itself. */
function isLast(event: string): boolean {
  return event.startsWith("/tasks/delete ") || event.includes('"exitStatus":7');
}

/**
 * Calls that containerd makes at the same time come in any order. How often it asks for the state depends on timing, so
 * only the last answer counts. ctr closes an exec's stdin unless the exec ends first, so that call is left out.
 */
function callLines(calls: readonly RecordedCall[]): string[] {
  const last = new Map<string, string>();
  for (const { method, request, reply } of calls) {
    if (method === "CloseIO" && JSON.stringify(request).includes("execId")) continue;
    const line = `${method} ${JSON.stringify(request)} -> ${JSON.stringify(reply)}`;
    last.set(method === "State" ? `${method} ${JSON.stringify(request)}` : line, line);
  }
  return [...last.values()].toSorted();
}

function eventLine({ topic, event }: RecordedEvent): string {
  return `${topic} ${JSON.stringify(event)}`;
}

function resources(value: unknown) {
  const typeUrl = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
  return { typeUrl, value: Buffer.from(JSON.stringify(value)) };
}
