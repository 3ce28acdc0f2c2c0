import { create, fromBinary, toBinary, toJson } from "@bufbuild/protobuf";
import {
  Adjustment,
  type AdjustmentSpec,
  ContainerAdjustmentSchema,
  type DeviceSpec,
  type HookSpec,
  IOPrioClass,
  LinuxSchedulerFlag,
  LinuxSchedulerPolicy,
  MpolFlag,
  MpolMode,
  resources,
  type ResourcesSpec,
  type SeccompSpec,
  LinuxResourcesSchema,
} from "containerd-shim-protos/nri";
import { describe, expect, it } from "vitest";

const json = (adjustment: Adjustment) => {
  const bytes = toBinary(ContainerAdjustmentSchema, adjustment.message);
  return toJson(ContainerAdjustmentSchema, fromBinary(ContainerAdjustmentSchema, bytes));
};

/** With every part that may be left out, so that the compiler asks for one that is new. */
type Whole<T> = T extends readonly unknown[]
  ? { [Index in keyof T]: Whole<T[Index]> }
  : T extends object
    ? { [Name in keyof T as Name extends `$${string}` ? never : Name]-?: Whole<Exclude<T[Name], undefined>> }
    : T;

const HOOK: Whole<HookSpec> = { path: "/bin/hook", args: ["hook", "x"], env: ["A=b"], timeout: 3 };
const RESOURCES: Whole<ResourcesSpec> = {
  memory: {
    limit: 1 << 30,
    reservation: 1 << 20,
    swap: -1,
    kernel: 1 << 21,
    kernelTcp: 1 << 22,
    swappiness: 0,
    disableOomKiller: false,
    useHierarchy: true,
  },
  cpu: {
    shares: 512,
    quota: -1,
    period: 100_000,
    realtimeRuntime: 5,
    realtimePeriod: 10,
    cpus: "0-1",
    mems: "0",
  },
  pids: 100,
  hugepages: { "2MB": 4 << 20 },
  blockioClass: "slow",
  rdtClass: "gold",
  unified: { "memory.high": "1000" },
};
const SECCOMP: Whole<SeccompSpec> = {
  defaultAction: "SCMP_ACT_ALLOW",
  defaultErrno: 38,
  architectures: ["SCMP_ARCH_X86_64"],
  flags: ["SECCOMP_FILTER_FLAG_LOG"],
  listenerPath: "/run/agent",
  listenerMetadata: "m",
  syscalls: [
    {
      names: ["bpf"],
      action: "SCMP_ACT_ERRNO",
      errnoRet: 1,
      args: [{ index: 0, value: 1, valueTwo: 2, op: "SCMP_CMP_MASKED_EQ" }],
    },
  ],
};
const SCHEDULER = {
  policy: LinuxSchedulerPolicy.SCHED_BATCH,
  nice: 5,
  priority: 0,
  flags: [LinuxSchedulerFlag.SCHED_FLAG_RESET_ON_FORK],
  runtime: 1n,
  deadline: 2n,
  period: 3n,
};

const FUSE: Whole<DeviceSpec> = {
  path: "/dev/fuse",
  type: "c",
  major: 10,
  minor: 229,
  fileMode: 0o666,
  uid: 0,
  gid: 0,
};

const SPEC: Whole<AdjustmentSpec> = {
  env: { A: "b", OLD: null },
  annotations: { "example.com/a": "1", "example.com/b": null },
  mounts: [{ destination: "/data", source: "/srv", type: "bind", options: ["rbind", "ro"] }],
  removeMounts: ["/old"],
  args: ["sleep", "1"],
  hooks: {
    prestart: [HOOK],
    createRuntime: [HOOK],
    createContainer: [HOOK],
    startContainer: [HOOK],
    poststart: [HOOK],
    poststop: [HOOK],
  },
  rlimits: { RLIMIT_NOFILE: { soft: 1024, hard: 2n ** 63n } },
  cdiDevices: ["vendor.com/gpu=0"],
  devices: [FUSE],
  removeDevices: ["/dev/null"],
  resources: RESOURCES,
  namespaces: { network: "/run/netns/a", ipc: null },
  sysctl: { "net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": null },
  netDevices: { eth1: "net1", eth2: null },
  seccomp: SECCOMP,
  cgroupsPath: "/a/b",
  oomScoreAdj: 0,
  ioPriority: { class: IOPrioClass.IOPRIO_CLASS_BE, priority: 4 },
  scheduler: SCHEDULER,
  memoryPolicy: { mode: MpolMode.MPOL_BIND, nodes: "0", flags: [MpolFlag.MPOL_F_STATIC_NODES] },
  rdt: { closId: "a", schemata: ["L3:0=f"], enableMonitoring: true },
};

type Path = readonly string[];

/** The paths of all properties in a value, such as `["resources", "cpu", "quota"]`. */
function pathsOf(value: unknown, at: Path = []): Path[] {
  if (typeof value !== "object" || value === null) return [];
  const paths: Path[] = [];
  for (const [name, item] of Object.entries(value)) {
    const path = [...at, name];
    paths.push(path, ...pathsOf(item, path));
  }
  return paths;
}

function valueAt(path: Path): unknown {
  return path.reduce((at: any, name) => at[name], SPEC);
}

/** The whole spec with one property changed. */
function changed(path: Path, change: (owner: any, name: string) => void): AdjustmentSpec {
  const copy = structuredClone(SPEC) as AdjustmentSpec;
  const owner = path.slice(0, -1).reduce((at: any, name) => at[name], copy);
  change(owner, path.at(-1)!);
  return copy;
}

/** The adjustment, or the error, that a spec makes. */
function outcome(spec: AdjustmentSpec): unknown {
  try {
    return json(new Adjustment(spec));
  } catch (error) {
    return String(error);
  }
}

describe("an adjustment", () => {
  const built = new Adjustment()
    .env("A", "b")
    .removeEnv("OLD")
    .annotation("example.com/a", "1")
    .removeAnnotation("example.com/b")
    .removeMount("/old")
    .mount({ destination: "/data", source: "/srv", type: "bind", options: ["rbind", "ro"] })
    .args(["sleep", "1"])
    .hook("prestart", HOOK)
    .hook("createRuntime", HOOK)
    .hook("createContainer", HOOK)
    .hook("startContainer", HOOK)
    .hook("poststart", HOOK)
    .hook("poststop", HOOK)
    .rlimit("RLIMIT_NOFILE", { soft: 1024, hard: 2n ** 63n })
    .cdiDevice("vendor.com/gpu=0")
    .removeDevice("/dev/null")
    .device(FUSE)
    .resources(RESOURCES)
    .namespace("network", "/run/netns/a")
    .removeNamespace("ipc")
    .sysctl("net.ipv4.ip_forward", "1")
    .removeSysctl("kernel.shm_rmid_forced")
    .netDevice("eth1", "net1")
    .removeNetDevice("eth2")
    .seccomp(SECCOMP)
    .cgroupsPath("/a/b")
    .oomScoreAdj(0)
    .ioPriority(IOPrioClass.IOPRIO_CLASS_BE, 4)
    .scheduler(SCHEDULER)
    .memoryPolicy(MpolMode.MPOL_BIND, "0", [MpolFlag.MPOL_F_STATIC_NODES])
    .rdt({ closId: "a", schemata: ["L3:0=f"], enableMonitoring: true });

  it("has the markers of removal, and wrappers of values that are zero or false", () => {
    expect(json(built)).toEqual({
      env: [{ key: "A", value: "b" }, { key: "-OLD" }],
      annotations: { "example.com/a": "1", "-example.com/b": "" },
      mounts: [
        { destination: "-/old" },
        { destination: "/data", source: "/srv", type: "bind", options: ["rbind", "ro"] },
      ],
      args: ["sleep", "1"],
      hooks: Object.fromEntries(
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"].map(
          (phase) => [phase, [{ ...HOOK, timeout: { value: "3" } }]],
        ),
      ),
      rlimits: [{ type: "RLIMIT_NOFILE", soft: "1024", hard: String(2n ** 63n) }],
      CDIDevices: [{ name: "vendor.com/gpu=0" }],
      linux: {
        devices: [
          { path: "-/dev/null" },
          {
            path: "/dev/fuse",
            type: "c",
            major: "10",
            minor: "229",
            fileMode: { value: 0o666 },
            uid: {},
            gid: {},
          },
        ],
        resources: {
          memory: {
            limit: { value: String(1 << 30) },
            reservation: { value: String(1 << 20) },
            swap: { value: "-1" },
            kernel: { value: String(1 << 21) },
            kernelTcp: { value: String(1 << 22) },
            swappiness: {},
            disableOomKiller: {},
            useHierarchy: { value: true },
          },
          cpu: {
            shares: { value: "512" },
            quota: { value: "-1" },
            period: { value: "100000" },
            realtimeRuntime: { value: "5" },
            realtimePeriod: { value: "10" },
            cpus: "0-1",
            mems: "0",
          },
          pids: { limit: "100" },
          hugepageLimits: [{ pageSize: "2MB", limit: String(4 << 20) }],
          blockioClass: { value: "slow" },
          rdtClass: { value: "gold" },
          unified: { "memory.high": "1000" },
        },
        namespaces: [{ type: "network", path: "/run/netns/a" }, { type: "-ipc" }],
        sysctl: { "net.ipv4.ip_forward": "1", "-kernel.shm_rmid_forced": "" },
        netDevices: { eth1: { name: "net1" }, "-eth2": {} },
        seccompPolicy: {
          ...SECCOMP,
          defaultErrno: { value: 38 },
          syscalls: [
            {
              names: ["bpf"],
              action: "SCMP_ACT_ERRNO",
              errnoRet: { value: 1 },
              args: [{ value: "1", valueTwo: "2", op: "SCMP_CMP_MASKED_EQ" }],
            },
          ],
        },
        cgroupsPath: "/a/b",
        oomScoreAdj: {},
        ioPriority: { class: "IOPRIO_CLASS_BE", priority: 4 },
        scheduler: {
          policy: "SCHED_BATCH",
          nice: 5,
          flags: ["SCHED_FLAG_RESET_ON_FORK"],
          runtime: "1",
          deadline: "2",
          period: "3",
        },
        memoryPolicy: { mode: "MPOL_BIND", nodes: "0", flags: ["MPOL_F_STATIC_NODES"] },
        rdt: { closId: { value: "a" }, schemata: { value: ["L3:0=f"] }, enableMonitoring: { value: true } },
      },
    });
  });

  it("is the same from a plain object", () => {
    expect(json(new Adjustment(SPEC))).toEqual(json(built));
    expect(new Adjustment({ rdt: null }).message.linux?.rdt?.remove).toBe(true);
  });

  it("takes a part that is undefined, however deep, for one that is left out", () => {
    const records = new Set(
      "env annotations rlimits namespaces sysctl netDevices unified hugepages".split(" "),
    );
    const parts = pathsOf(SPEC).filter(
      (path) => !Array.isArray(valueAt(path.slice(0, -1))) && !records.has(path.at(-2) ?? ""),
    );
    expect(parts.length).toBeGreaterThan(60);
    const different = parts.filter((path) => {
      const absent = outcome(changed(path, (owner, name) => delete owner[name]));
      const undefinedPart = outcome(changed(path, (owner, name) => (owner[name] = undefined)));
      return JSON.stringify(absent) !== JSON.stringify(undefinedPart);
    });
    expect(different).toEqual([]);
  });

  it("refuses a number that fits no field, wherever it is, and names the field", () => {
    const numbers = pathsOf(SPEC).filter((path) => ["number", "bigint"].includes(typeof valueAt(path)));
    expect(numbers.length).toBeGreaterThan(30);
    for (const path of numbers) {
      const spec = changed(path, (owner, name) => (owner[name] = 2n ** 64n));
      expect(outcome(spec), path.join(".")).toMatch(new RegExp(`^TypeError: .*\\b${path.at(-1)}\\b`));
    }
  });

  it("adds to resources that were set before, and replaces a command that another plugin has set", () => {
    const adjustment = new Adjustment()
      .resources({ cpu: { cpus: "0" }, memory: { limit: 1 } })
      .resources({ cpu: { mems: "1" }, memory: { swap: 2 } })
      .args(["a"], true);
    expect(json(adjustment)).toEqual({
      args: ["", "a"],
      linux: {
        resources: { cpu: { cpus: "0", mems: "1" }, memory: { limit: { value: "1" }, swap: { value: "2" } } },
      },
    });
    expect(json(new Adjustment())).toEqual({});
    expect(resources({ pids: 1 })).toEqual(create(LinuxResourcesSchema, { pids: { limit: 1n } }));
  });

  it.each<[string, (adjustment: Adjustment) => unknown, string]>([
    [
      "a marker",
      (to) => to.env("-A", "b"),
      'the name of env must not begin with "-", which marks what is removed: -A',
    ],
    ["no name", (to) => to.removeEnv(""), "the name of env is empty"],
    ["a value in the name", (to) => to.env("A=b", "c"), 'the name of env must not contain "=": A=b'],
    ["a value in what is removed", (to) => to.removeEnv("A=b"), 'the name of env must not contain "=": A=b'],
    ["no text", (to) => to.env("A", 1 as never), "env.A must be a string, not number"],
    [
      "a fraction",
      (to) => to.resources({ memory: { limit: 1.5 } }),
      "resources.memory.limit must be an integer from",
    ],
    [
      "too much",
      (to) => to.resources({ cpu: { shares: -1 } }),
      "resources.cpu.shares must be an integer from 2 to 262144 or 0, not -1",
    ],
    ["an unsafe number", (to) => to.resources({ pids: 2 ** 60 }), "resources.pids must be an integer from"],
    [
      "an unknown name",
      (to) => to.resources({ cpus: "1" } as never),
      "resources has no cpus; it has memory, cpu",
    ],
    [
      "an unknown phase",
      (to) => to.hook("never" as never, { path: "/x" }),
      "a hook's phase must be one of prestart",
    ],
    [
      "a prototype's",
      (to) => to.hook("toString" as never, { path: "/x" }),
      "a hook's phase must be one of prestart",
    ],
    ["no path", (to) => to.mount({ source: "/x" }), "mount.destination must be a string, not undefined"],
    [
      "no device",
      (to) => to.device({ path: "/dev/x" } as never),
      "device.type must be a string, not undefined",
    ],
    ["no list", (to) => to.args("sh" as never), "args must be an array of strings, not string"],
    ["no action", (to) => to.seccomp({} as never), "seccomp.defaultAction must be a string, not undefined"],
    [
      "an unknown part",
      () => new Adjustment({ environment: {} } as never),
      "the adjustment has no environment; it has env",
    ],
    ["no object", () => new Adjustment(null as never), "the adjustment must be an object, not null"],
  ])("refuses %s with a TypeError that names it", (_, act, text) => {
    expect(() => act(new Adjustment())).toThrow(TypeError);
    expect(() => act(new Adjustment())).toThrow(text);
  });
});
