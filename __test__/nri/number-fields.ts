import {
  type AdjustmentSpec,
  type Integer,
  IOPrioClass,
  LinuxSchedulerPolicy,
  MpolMode,
} from "containerd-shim-protos/nri";

const DEVICE = { path: "/dev/x", type: "c", major: 1, minor: 1 };
const CONDITION = { index: 0, value: 0, op: "SCMP_CMP_EQ" };
const INT64_MAX = 2n ** 63n - 1n;
const MOST_MICROSECONDS = 18_446_744_073_709_551n;

/** A number of an adjustment: its name in an error, its range, and where it is in a spec and in the message. */
export type NumberField = [
  name: string,
  least: Integer,
  most: Integer,
  spec: (value: never) => AdjustmentSpec,
  path: string,
  ...others: Integer[],
];

const memory = (name: string, most: Integer = INT64_MAX, least = -1): NumberField => [
  `resources.memory.${name}`,
  least,
  most,
  (value) => ({ resources: { memory: { [name]: value } } }),
  `linux.resources.memory.${name}.value`,
];
const device = (name: string, most: number, path = name): NumberField => [
  `device.${name}`,
  0,
  most,
  (value) => ({ devices: [{ ...DEVICE, [name]: value }] }),
  `linux.devices.0.${path}`,
];
const cpu = (name: string, least: Integer, most: Integer, ...others: Integer[]): NumberField => [
  `resources.cpu.${name}`,
  least,
  most,
  (value) => ({ resources: { cpu: { [name]: value } } }),
  `linux.resources.cpu.${name}.value`,
  ...others,
];
const scheduler = (name: string, least: number, most: number): NumberField => [
  `scheduler.${name}`,
  least,
  most,
  (value) => ({ scheduler: { policy: LinuxSchedulerPolicy.SCHED_OTHER, [name]: value } }),
  `linux.scheduler.${name}`,
];
const rule = (name: string, syscall: (value: never) => object, path: string, most: Integer): NumberField => [
  `seccomp.syscalls[0].${name}`,
  0,
  most,
  (value) => ({
    seccomp: {
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ names: ["bpf"], action: "SCMP_ACT_ERRNO", ...syscall(value) }],
    },
  }),
  `linux.seccompPolicy.syscalls.0.${path}`,
];
const condition = (name: string, most: Integer): NumberField =>
  rule(`args[0].${name}`, (value) => ({ args: [{ ...CONDITION, [name]: value }] }), `args.0.${name}`, most);

/** All of them that a spec has. */
export const NUMBER_FIELDS: NumberField[] = [
  ["oomScoreAdj", -1000, 1000, (oomScoreAdj) => ({ oomScoreAdj }), "linux.oomScoreAdj.value"],
  [
    "ioPriority.priority",
    0,
    7,
    (priority) => ({ ioPriority: { class: IOPrioClass.IOPRIO_CLASS_BE, priority } }),
    "linux.ioPriority.priority",
  ],
  [
    "ioPriority.class",
    0,
    3,
    (value) => ({ ioPriority: { class: value, priority: 0 } }),
    "linux.ioPriority.class",
  ],
  scheduler("policy", 0, 7),
  scheduler("nice", -20, 19),
  scheduler("priority", 0, 99),
  ["scheduler.flags[0]", 0, 6, (flag) => ({ scheduler: { flags: [flag] } }), "linux.scheduler.flags.0"],
  ["memoryPolicy.mode", 0, 6, (mode) => ({ memoryPolicy: { mode } }), "linux.memoryPolicy.mode"],
  [
    "memoryPolicy.flags[0]",
    0,
    2,
    (flag) => ({ memoryPolicy: { mode: MpolMode.MPOL_BIND, flags: [flag] } }),
    "linux.memoryPolicy.flags.0",
  ],
  ...["limit", "reservation", "swap", "kernel", "kernelTcp"].map((name) => memory(name)),
  memory("swappiness", 100, 0),
  cpu("shares", 2, 262_144, 0),
  cpu("quota", 1000, 2 ** 44 - 1, 0, -1),
  cpu("period", 1000, 1_000_000, 0),
  cpu("realtimeRuntime", -1, MOST_MICROSECONDS),
  cpu("realtimePeriod", 0, MOST_MICROSECONDS),
  ["resources.pids", -1, 4_194_304, (pids) => ({ resources: { pids } }), "linux.resources.pids.limit"],
  [
    'resources.hugepages["2MB"]',
    0,
    2n ** 64n - 1n,
    (size) => ({ resources: { hugepages: { "2MB": size } } }),
    "linux.resources.hugepageLimits.0.limit",
  ],
  device("major", 4095),
  device("minor", 1_048_575),
  device("fileMode", 0o177_777, "fileMode.value"),
  device("uid", 2 ** 32 - 2, "uid.value"),
  device("gid", 2 ** 32 - 2, "gid.value"),
  [
    "hooks.poststop.timeout",
    1,
    INT64_MAX,
    (timeout) => ({ hooks: { poststop: [{ path: "/x", timeout }] } }),
    "hooks.poststop.0.timeout.value",
  ],
  [
    "rlimits.RLIMIT_CPU.hard",
    0,
    2n ** 64n - 1n,
    (hard) => ({ rlimits: { RLIMIT_CPU: { soft: 0, hard } } }),
    "rlimits.0.hard",
  ],
  [
    "rlimits.RLIMIT_CPU.soft",
    0,
    10,
    (soft) => ({ rlimits: { RLIMIT_CPU: { soft, hard: 10 } } }),
    "rlimits.0.soft",
  ],
  [
    "seccomp.defaultErrno",
    0,
    4095,
    (defaultErrno) => ({ seccomp: { defaultAction: "x", defaultErrno } }),
    "linux.seccompPolicy.defaultErrno.value",
  ],
  rule("errnoRet", (errnoRet) => ({ errnoRet }), "errnoRet.value", 4095),
  condition("index", 5),
  condition("value", 2n ** 64n - 1n),
  condition("valueTwo", 2n ** 64n - 1n),
];

/** A spec with a value that need not be one of its type. */
export const specOf = ([, , , spec]: NumberField, value: unknown): AdjustmentSpec => spec(value as never);
