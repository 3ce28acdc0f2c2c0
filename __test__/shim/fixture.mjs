/** A shim to run as containerd runs one. Its hooks do what the environment says. */
import { spawnSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cachedDataVersionTag, setFlagsFromString } from "node:v8";
import { runShim } from "containerd-shim-protos/shim";

const does = process.env["FIXTURE"] ?? "";

/** How many variables for allocators the processes that it starts would inherit. */
const allocatorVariables = () => Object.keys(process.env).filter((name) => name.includes("MALLOC_")).length;

/** An event, which a shim tries to deliver for some seconds before it ends. */
async function publishNothing(context) {
  const { TASK_OOM_EVENT_TOPIC, TaskOOMSchema } = await import("containerd-shim-protos/events");
  context.publish(TASK_OOM_EVENT_TOPIC, TaskOOMSchema, { containerId: context.id });
}

if (does.includes("noise")) {
  process.emitWarning("a warning at the top");
}

// V8 does not give memory back of its own accord.
if (does.includes("keep")) setFlagsFromString("--no-memory-reducer");

void runShim("io.containerd.fixture.v1", {
  version: "1.2.3",
  ...(does.includes("annotated")
    ? { groupAnnotations: ["first", "second"], deleteLeavesNothing: true }
    : { start: () => (does.includes("group") ? { group: "pod" } : undefined) }),
  async createTaskService(context) {
    if (does.includes("noise")) {
      console.log("printed by the service");
      console.error("an error of the service");
      process.emitWarning("a warning of the service");
      context.log.debug("debugging", { of: "the service" });
    }
    if (does.includes("flood"))
      for (let i = 0; i < 5000; i++) context.log.info(`line ${i} ${"x".repeat(100)}`);
    if (does.includes("fail")) throw new Error("the service has no engine");
    if (does.includes("bug")) {
      setTimeout(() => Promise.reject(new Error("a bug in the service")), 1);
      await new Promise((resolve) => setTimeout(resolve, 60_000));
    }
    if (does.includes("stops")) {
      context.onShutdown(async () => {
        writeFileSync(join(context.bundle, "stopping"), "");
        while (!existsSync(join(context.bundle, "stopped")))
          await new Promise((resolve) => setTimeout(resolve, 10));
        await publishNothing(context);
      });
    }
    if (does.includes("hangs")) context.onShutdown(() => new Promise(() => undefined));
    if (does.includes("die")) process.kill(process.pid, "SIGKILL");
    if (does.includes("slow")) await new Promise((resolve) => setTimeout(resolve, 1000));
    return {
      connect: () => ({ shimPid: process.pid, version: context.id, taskPid: allocatorVariables() }),
      // Serves everything that version 3 has, under its name.
      state: async ({ id }) => {
        const { create } = await import("@bufbuild/protobuf");
        const { StateResponseSchema } = await import("containerd-shim-protos/task/v3");
        // The tag depends on the values of all flags of V8.
        return create(StateResponseSchema, { id, bundle: context.bundle, pid: cachedDataVersionTag() });
      },
      create: () => ({ pid: 7 }),
      delete: () => ({ pid: 7, exitStatus: 5 }),
      stats: () => ({ stats: context.options }),
      // What a program gets that the shim runs.
      checkpoint({ path }) {
        const script = 'ulimit -Sn; ulimit -Hn; echo "$NOTIFY_SOCKET"';
        writeFileSync(path, spawnSync("sh", ["-c", script]).stdout);
        return {};
      },
      wait: () => new Promise(() => undefined),
      async kill({ signal }) {
        context.log.info(`signal ${signal}`);
        if (signal === 5) await publishNothing(context);
        // A process that has the shim's own streams.
        if (signal === 7) spawnSync("true", { stdio: "inherit" });
        if (signal === 8) for (let i = 0; i < 5000; i++) context.log.info(`line ${i} ${"x".repeat(100)}`);
        if (signal === 6) setTimeout(() => Promise.reject(new Error("a bug")), 10);
        return {};
      },
      shutdown() {
        context.shutdown();
        return {};
      },
    };
  },
  createSandboxService() {
    return does.includes("sandbox") ? { pingSandbox: () => ({}) } : undefined;
  },
  createInterceptors({ id, log }) {
    if (!does.includes("intercepted")) return undefined;
    return [
      (next) => async (call) => {
        const { service, method, request } = call;
        log.info("intercepted", { call: `${service}/${method}`, of: id });
        if (request.execId === "refused") {
          const { Code, TtrpcError } = await import("containerd-shim-protos");
          throw new TtrpcError("not this one", Code.PermissionDenied);
        }
        return next(call);
      },
    ];
  },
  async addServices(server, { id }) {
    if (!does.includes("streams")) return;
    const { Streaming } = await import("containerd-shim-protos/streaming");
    server.add(Streaming, {
      async *stream() {
        yield { typeUrl: id };
      },
    });
  },
  delete({ id, bundle }) {
    const nothing = undefined;
    if (does.includes("mistaken")) return nothing.exitStatus;
    console.log(`clearing up ${id} in ${bundle}`);
    if (does.includes("unknown")) return { pid: 42, exitStatus: undefined, exitedAt: undefined };
    return does.includes("exit") ? { pid: 42, exitStatus: 3 } : undefined;
  },
  info(options) {
    console.log("asked");
    return { name: undefined, version: undefined, annotations: { options: options?.typeUrl ?? "none" } };
  },
});
