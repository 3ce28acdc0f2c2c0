import { Adjustment } from "containerd-shim-protos/nri";
import type { PublicFunction } from "./functions.js";
import { type Argument, argument, isEmpty, isNoItems, left, text } from "./options.js";

type Method = Exclude<keyof Adjustment, "message">;

const string = (named: RegExp) => argument("text", named, (value) => typeof value === "string");
const optional = (named: RegExp) =>
  argument("text", named, (value) => left(value) || typeof value === "string");
const integer = (named: RegExp) =>
  argument(1, named, (value) => typeof value === "bigint" || Number.isInteger(value));
const object = (named: RegExp) => argument({}, named, isEmpty);
const device = { path: "/dev/a", type: "c", major: 1, minor: 1 };

const METHODS: Readonly<Record<Method, readonly Argument[]>> = {
  env: [text(/name of env/), string(/env\.text/)],
  removeEnv: [text(/name of env/)],
  annotation: [text(/key of annotation/), string(/annotations\.text/)],
  removeAnnotation: [text(/key of annotation/)],
  mount: [argument({ destination: "/a" }, /mount/)],
  removeMount: [text(/mount\.destination/)],
  args: [
    argument([], /args/, isNoItems),
    argument(false, /replace/, (value) => left(value) || typeof value === "boolean"),
  ],
  hook: [argument("prestart", /phase/), argument({ path: "/a" }, /hooks\.prestart/)],
  rlimit: [text(/type of rlimit/), argument({ soft: 1, hard: 1 }, /rlimits\.text/)],
  cdiDevice: [text(/cdiDevice/)],
  device: [argument(device, /device/)],
  removeDevice: [text(/device\.path/)],
  resources: [object(/resources/)],
  namespace: [text(/type of namespace/), optional(/namespace\.path/)],
  removeNamespace: [text(/type of namespace/)],
  sysctl: [text(/key of sysctl/), string(/sysctl\.text/)],
  removeSysctl: [text(/key of sysctl/)],
  netDevice: [text(/host's name of netDevice/), optional(/netDevice\.name/)],
  removeNetDevice: [text(/host's name of netDevice/)],
  seccomp: [argument({ defaultAction: "a" }, /seccomp/)],
  cgroupsPath: [string(/cgroupsPath/)],
  oomScoreAdj: [integer(/oomScoreAdj/)],
  ioPriority: [integer(/ioPriority\.class/), integer(/ioPriority\.priority/)],
  scheduler: [object(/scheduler/)],
  memoryPolicy: [
    integer(/memoryPolicy\.mode/),
    optional(/memoryPolicy\.nodes/),
    argument([], /memoryPolicy\.flags/, (value) => left(value) || isNoItems(value)),
  ],
  rdt: [object(/rdt/)],
  removeRdt: [],
};

/** What plugins change of containers. */
export const ADJUSTMENT_FUNCTIONS: readonly PublicFunction[] = [
  {
    name: "Adjustment",
    call: (_, [spec]) => new Adjustment(spec as never),
    args: [argument({}, /the adjustment/, (value) => left(value) || isEmpty(value))],
  },
  ...(["ioPriority", "memoryPolicy"] as const).map((part): PublicFunction => ({
    name: `Adjustment, its ${part}`,
    call: (_, [value]) => new Adjustment({ [part]: value }),
    args: [argument({ class: 1, priority: 1 }, new RegExp(part), left)],
  })),
  ...Object.entries(METHODS).map(([method, args]): PublicFunction => ({
    name: `Adjustment.${method}`,
    call: (_, given) => {
      const adjustment = new Adjustment();
      return (adjustment[method as Method] as (...all: unknown[]) => unknown).apply(adjustment, [...given]);
    },
    args,
  })),
  {
    name: "Adjustment.seccomp, its syscalls",
    call: (_, [syscalls]) => new Adjustment().seccomp({ defaultAction: "a", syscalls: syscalls as never }),
    args: [argument([], /seccomp\.syscalls/, (value) => left(value) || isNoItems(value))],
  },
];
