import { existsSync } from "node:fs";
import { join } from "node:path";
import { type DescMessage, type MessageShape, toJson } from "@bufbuild/protobuf";
import {
  Adjustment,
  ContainerSchema,
  LinuxResourcesSchema,
  type PluginHandlers,
  PodSandboxSchema,
} from "containerd-shim-protos/nri";
import { describe, expect, test, vi } from "vitest";
import { buildGo } from "../helpers/go-build.js";
import { Program } from "../helpers/program.js";
import { Started } from "../helpers/started.js";
import { Node } from "./node.js";
import { SECONDS, start } from "./nri-plugin.js";
import { useNamedPods } from "./nri-pods.js";
import { useRunning } from "./suite.js";

const SOCKET = "/var/run/nri/nri.sock";
/** More for a longer run, up to 60, which then have 15 MB. */
const SYNCHRONIZED_PODS = Number(process.env["NRI_PODS"] ?? 20);

interface Call {
  readonly call: string;
  readonly messages: readonly unknown[];
}

const node = useRunning(() =>
  Node.start(["[plugins.'io.containerd.nri.v1.nri']", "plugin_request_timeout = '8s'"]),
);
const pods = useNamedPods(node);

/** Handlers that record every call as JSON. */
function recorder(calls: Call[]): PluginHandlers {
  const json = <Desc extends DescMessage>(desc: Desc, message: MessageShape<Desc> | undefined) =>
    message === undefined ? {} : toJson(desc, message);
  const ofPod =
    (call: string) =>
    ({ pod }: { pod: MessageShape<typeof PodSandboxSchema> }) =>
      void calls.push({ call, messages: [json(PodSandboxSchema, pod)] });
  const ofContainer =
    (call: string) =>
    (event: {
      pod: MessageShape<typeof PodSandboxSchema>;
      container: MessageShape<typeof ContainerSchema>;
    }) =>
      void calls.push({
        call,
        messages: [json(PodSandboxSchema, event.pod), json(ContainerSchema, event.container)],
      });
  return {
    synchronize: () => void calls.push({ call: "synchronize", messages: [] }),
    runPodSandbox: ofPod("runPodSandbox"),
    stopPodSandbox: ofPod("stopPodSandbox"),
    removePodSandbox: ofPod("removePodSandbox"),
    createContainer: (event) => {
      ofContainer("createContainer")(event);
      return new Adjustment().env("node", "here");
    },
    postCreateContainer: ofContainer("postCreateContainer"),
    startContainer: ofContainer("startContainer"),
    postStartContainer: ofContainer("postStartContainer"),
    updateContainer: ({ pod, container, resources }) => {
      const messages = [
        json(PodSandboxSchema, pod),
        json(ContainerSchema, container),
        json(LinuxResourcesSchema, resources),
      ];
      calls.push({ call: "updateContainer", messages });
    },
    postUpdateContainer: ofContainer("postUpdateContainer"),
    stopContainer: ofContainer("stopContainer") as () => undefined,
    removeContainer: ofContainer("removeContainer"),
  };
}

/** Without what plugins that were asked before have set. */
function comparable({ call, messages }: Call): Call {
  const text = JSON.stringify(messages, (key, value: unknown) =>
    key === "env" && Array.isArray(value) ? value.filter((line) => !String(line).endsWith("=here")) : value,
  );
  return { call, messages: JSON.parse(text) as unknown[] };
}

describe("a plugin of containerd", () => {
  test("gets the calls that one made with the Go module gets, in their order and with their messages", async () => {
    const calls: Call[] = [];
    await start("node", "20", recorder(calls));
    await using go = new Started(buildGo("nri", "nri-peer"), ["plugin", "go", "10", SOCKET]);
    await go.printed("synchronize");
    const pod = await pods.run("both", { "example.com/a": "b" });
    const id = await pods.start(pod, "c");
    expect(await pods.exec(id, "env | grep here | sort")).toBe("go=here\nnode=here");
    await pods.crictl("update", "--cpu-share", "512", id);
    await pods.remove(pod);
    const ofGo = () =>
      go.output
        .trim()
        .split("\n")
        .map((line) => comparable(JSON.parse(line) as Call));
    await vi.waitFor(() => expect(ofGo().at(-1)?.call).toBe("removePodSandbox"), SECONDS);
    const ofNode = calls.map(comparable);
    expect(ofNode.map(({ call }) => call)).toEqual([
      "synchronize",
      "runPodSandbox",
      "createContainer",
      "postCreateContainer",
      "startContainer",
      "postStartContainer",
      "updateContainer",
      "postUpdateContainer",
      "stopContainer",
      "stopPodSandbox",
      "removeContainer",
      "removePodSandbox",
    ]);
    expect(ofNode).toEqual(ofGo());
  });

  test("adjusts containers, which show each adjustment", async () => {
    const hooked = join(Node.root, "hooked");
    await start("earlier", "05", { createContainer: () => ({ adjust: { env: { OTHER: "5", GONE: "5" } } }) });
    await start("adjuster", "10", {
      createContainer: () =>
        new Adjustment()
          .env("ADDED", "1")
          .removeEnv("GONE")
          .removeEnv("OTHER")
          .env("OTHER", "10")
          .removeEnv("OLD")
          .annotation("example.com/seen", "yes")
          .mount({ destination: "/proto", source: "/etc/hostname", type: "bind", options: ["rbind", "ro"] })
          .device({ path: "/dev/zero2", type: "c", major: 1, minor: 5, fileMode: 0o604 })
          .hook("createRuntime", { path: "/bin/sh", args: ["sh", "-c", `echo $$ > ${hooked}`] })
          .rlimit("RLIMIT_NOFILE", { soft: 333, hard: 444 })
          .sysctl("kernel.msgmax", "4321")
          .resources({ memory: { limit: 64 << 20 }, pids: 77, cpu: { shares: 333 } })
          .seccomp({
            defaultAction: "SCMP_ACT_ALLOW",
            syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 38 }],
          })
          .args(["/bin/sh", "-c", "exec sleep 2000"]),
    });
    const pod = await pods.run("adjusted");
    const id = await pods.start(pod, "c");
    const script = [
      'echo "env $ADDED,$OTHER,$GONE,$OLD,$KEPT"',
      "grep -o '/proto ' /proc/mounts",
      "ls -l /dev/zero2 | cut -c1-10",
      "echo files $(grep 'open files' /proc/1/limits | tr -s ' ' | cut -d' ' -f4,5)",
      "cat /proc/sys/kernel/msgmax",
      "mkdir /tmp/x 2>&1 | grep -o 'Function not implemented'",
      "tr '\\0' ' ' < /proc/1/cmdline",
    ];
    expect((await pods.exec(id, script.join("; "))).trim().split("\n")).toEqual([
      // What the pod itself sets is kept: NRI drops its removal.
      "env 1,10,,1,1",
      "/proto ",
      "crw----r--",
      "files 333 444",
      "4321",
      "Function not implemented",
      "sleep 2000",
    ]);
    expect(existsSync(hooked)).toBe(true);
    const { info } = JSON.parse(await pods.crictl("inspect", id)) as {
      info: { runtimeSpec: { annotations: Record<string, string>; linux: { resources: object } } };
    };
    expect(info.runtimeSpec.annotations).toMatchObject({ "example.com/seen": "yes" });
    expect(info.runtimeSpec.linux.resources).toMatchObject({
      memory: { limit: 64 << 20 },
      pids: { limit: 77 },
      cpu: { shares: 333 },
    });
  });

  test("updates a container at any time", async () => {
    const plugin = await start("updater", "10", {});
    const pod = await pods.run("updated");
    const containerId = await pods.start(pod, "c");
    const updates = [{ containerId, resources: { memory: { limit: 96 << 20 } } }];
    expect(await plugin.updateContainers(updates)).toEqual([]);
    const status = JSON.parse(await pods.crictl("inspect", containerId)) as {
      status: { resources: { linux: { memoryLimitInBytes: string } } };
    };
    expect(status.status.resources.linux.memoryLimitInBytes).toBe(String(96 << 20));
  });

  test("that throws fails the container, and its message is in the error", async () => {
    await start("thrower", "10", {
      createContainer: () => {
        throw new Error("no container today");
      },
    });
    const pod = await pods.run("failed");
    await expect(pods.create(pod, "c")).rejects.toThrow("no container today");
  });

  test("that is slow is dropped, connects again, and the container is created without it", async () => {
    let creations = 0;
    let synchronizations = 0;
    await start("slow", "10", {
      synchronize: () => void synchronizations++,
      createContainer: () => (++creations === 1 ? new Promise<undefined>(() => undefined) : undefined),
    });
    const pod = await pods.run("slow");
    await pods.create(pod, "first");
    expect(node().takeLog()).toContain("deadline exceeded");
    await vi.waitFor(() => expect(synchronizations).toBe(2), SECONDS);
    await pods.create(pod, "second");
    expect(creations).toBe(2);
  });

  test.each([
    ["SIGINT", 130],
    ["SIGKILL", "SIGKILL"],
  ] as const)("that %s ends frees containerd at once", async (signal, status) => {
    await using plugin = new Program("__test__/cri/nri-hanging.ts");
    await plugin.printed("synchronized");
    const pod = await pods.run("freed");
    const created = pods.create(pod, "c");
    await plugin.printed("creating");
    plugin.signal(signal);
    await created;
    expect(await plugin.ended()).toBe(status);
    expect(node().takeLog()).not.toContain("deadline exceeded");
  });

  test.each(["SIGTERM", "SIGKILL"] as const)(
    "connects again when %s has ended containerd, and sees what is there",
    async (signal) => {
      const seen: string[][] = [];
      const plugin = await start("again", "10", {
        synchronize: ({ pods: all, containers }) => {
          seen.push([...all, ...containers].map(({ name }) => name).toSorted());
        },
        createContainer: () => new Adjustment().env("AGAIN", "yes"),
      });
      const pod = await pods.run("kept");
      await pods.start(pod, "c");
      await node().endDaemon(signal);
      await vi.waitFor(() => expect(plugin.runtime).toBeUndefined(), SECONDS);
      await node().startDaemon();
      await vi.waitFor(() => expect(seen).toEqual([[], ["c", "kept"]]), SECONDS);
      const id = await pods.start(pod, "d");
      expect(await pods.exec(id, "echo $AGAIN")).toBe("yes");
    },
  );

  test(
    `sees ${SYNCHRONIZED_PODS} pods of 250 kB each, which come in parts`,
    { timeout: 300_000 },
    async () => {
      const padding = "x".repeat(250_000);
      for (let index = 0; index < SYNCHRONIZED_PODS; index++) await pods.run(`large-${index}`, { padding });
      let sizes: number[] = [];
      await start("reader", "10", {
        synchronize: ({ pods: all }) => {
          sizes = all.map(({ annotations }) => annotations["padding"]?.length ?? 0);
        },
      });
      expect(sizes).toEqual(Array.from({ length: SYNCHRONIZED_PODS }, () => 250_000));
    },
  );

  test("works beside nine others", async () => {
    for (let index = 0; index < 10; index++) {
      await start(`p${index}`, `${index}0`, {
        createContainer: () => new Adjustment().env(`P${index}`, "here"),
      });
    }
    const pod = await pods.run("ten");
    const id = await pods.start(pod, "c");
    expect(await pods.exec(id, "env | grep -c here")).toBe("10");
  });
});

describe("the example", () => {
  test("nri-logger prints what containerd does", async () => {
    await using logger = new Program("examples/nri-logger.ts");
    await logger.printed("pods, ");
    const pod = await pods.run("logged");
    await pods.start(pod, "c");
    await pods.remove(pod);
    await logger.printed("default/logged: remove\n");
    expect(logger.output.split("\n").slice(1)).toEqual([
      "default/logged: run",
      "default/logged/c: create",
      "default/logged/c: start",
      "default/logged/c: stop",
      "default/logged: stop",
      "default/logged/c: remove",
      "default/logged: remove",
      "",
    ]);
  });

  test("nri-injector gives a container a device and a variable", async () => {
    await using injector = new Program("examples/nri-injector.ts");
    await vi.waitFor(() => expect(injector.errors).toContain("is registered"), SECONDS);
    const annotations = { "env.inject.example.com/MODE": "fast", "device.inject.example.com/c": "/dev/full" };
    const pod = await pods.run("injected", annotations);
    const id = await pods.start(pod, "c");
    expect(
      await pods.exec(
        id,
        "echo $MODE; ls -l /dev/full | cut -c1; echo 1 2>&1 > /dev/full | grep -o 'No space'",
      ),
    ).toBe("fast\nc\nNo space");
  });

  test("nri-cpu-pinning gives a container a CPU of its own, and moves the others", async () => {
    await using pinning = new Program("examples/nri-cpu-pinning.ts", [SOCKET, "0-1"]);
    await vi.waitFor(() => expect(pinning.errors).toContain("is registered"), SECONDS);
    const pod = await pods.run("pinned", { "pin.example.com/fast": "1" });
    const cpus = (id: string) => pods.exec(id, "grep Cpus_allowed_list /proc/1/status | tr -s '\\t' ' '");
    const slow = await pods.start(pod, "slow");
    expect(await cpus(slow)).toBe("Cpus_allowed_list: 0-1");
    const fast = await pods.start(pod, "fast");
    expect([await cpus(fast), await cpus(slow)]).toEqual(["Cpus_allowed_list: 0", "Cpus_allowed_list: 1"]);
    await pods.crictl("stop", fast);
    expect(await cpus(slow)).toBe("Cpus_allowed_list: 0-1");
  });
});
