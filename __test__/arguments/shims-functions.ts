import { packAny } from "containerd-shim-protos";
import { TaskExitSchema } from "containerd-shim-protos/events";
import { createTestShim, type TestShimOptions } from "containerd-shim-protos/shim/testing";
import {
  type ListShimsOptions,
  listShims,
  openTask,
  type OpenTaskOptions,
  type SamplesOptions,
  usageOf,
  watchShims,
  type WatchShimsOptions,
} from "containerd-shim-protos/shims";
import type { PublicFunction } from "./functions.js";
import { argument, callOptions, isEmpty, left, type Options, optionsOf, signal } from "./options.js";

const NOWHERE = "/no/such/folder";
const string = (named: RegExp) =>
  argument("text", named, (value) => left(value) || typeof value === "string");
const filled = (named: RegExp) => argument("text", named, (value) => left(value) || value === "text");
const above0 = (named: RegExp) =>
  argument(5, named, (value) => left(value) || (typeof value === "number" && value > 0));
const common = {
  state: filled(/state/),
  containerd: filled(/containerd/),
  namespace: string(/namespace/),
  timeoutMs: above0(/timeoutMs/),
  signal,
};
const listOptions: Options<ListShimsOptions> = { ...common, sockets: string(/sockets/) };
const openOptions: Options<OpenTaskOptions> = { ...common, id: string(/id/) };
const watchOptions: Options<WatchShimsOptions> = { ...common, intervalMs: above0(/intervalMs/) };
const samplesOptions: Options<SamplesOptions> = {
  intervalMs: above0(/intervalMs/),
  timeoutMs: above0(/timeoutMs/),
  signal,
};
const testShimOptions: Options<TestShimOptions> = {
  id: filled(/id/),
  namespace: filled(/namespace/),
  spec: argument({}, /spec/, (value) => left(value) || isEmpty(value)),
  options: argument(undefined, /options/, left),
  createSandboxService: argument(
    undefined,
    /createSandboxService/,
    (value) => left(value) || isCallable(value),
  ),
  createInterceptors: argument(undefined, /createInterceptors/, (value) => left(value) || isCallable(value)),
  addServices: argument(undefined, /addServices/, (value) => left(value) || isCallable(value)),
};

/** Whether it is a function, but not a revoked Proxy of one. */
function isCallable(value: unknown): boolean {
  try {
    Array.isArray(value);
    return typeof value === "function";
  } catch {
    return false;
  }
}

/** The shims of a host, and a shim in a test. */
export const SHIMS_FUNCTIONS: readonly PublicFunction[] = [
  {
    name: "listShims",
    optionsType: "ListShimsOptions",
    call: (_, [options]) => listShims(options as never),
    args: [optionsOf("listShims", { state: NOWHERE })],
    options: { at: 0, of: listOptions },
  },
  {
    name: "openTask",
    optionsType: "OpenTaskOptions",
    call: async (_, [target, options]) => (await openTask(target as never, options as never)).close(),
    args: [argument(`unix://${NOWHERE}`, /target/, (value) => value === "text"), optionsOf("openTask")],
    options: { at: 1, of: openOptions },
  },
  {
    name: "watchShims",
    optionsType: "WatchShimsOptions",
    // Where containerd has no tasks, the loop would wait for one.
    call: (_, [options]) => {
      const given = options as WatchShimsOptions | undefined;
      return watchShims(left(given) || isEmpty(given) ? { state: NOWHERE } : given);
    },
    args: [optionsOf("watchShims", { signal: AbortSignal.abort(), state: NOWHERE })],
    options: { at: 0, of: watchOptions },
  },
  {
    name: "OpenTask.usage",
    call: ({ task }, [options]) => task.usage(options as never),
    args: [optionsOf("a call")],
    options: { at: 0, of: callOptions },
  },
  {
    name: "OpenTask.samples",
    optionsType: "SamplesOptions",
    call: ({ task }, [options]) => task.samples(options as never),
    args: [optionsOf("samples")],
    options: { at: 0, of: samplesOptions },
  },
  {
    name: "usageOf",
    call: (_, [stats]) => usageOf(stats as never),
    args: [argument(packAny(TaskExitSchema, {}), /stats/)],
  },
  {
    name: "createTestShim",
    optionsType: "TestShimOptions",
    call: async (_, [make, options]) => (await createTestShim(make as never, options as never)).close(),
    args: [
      argument(
        () => () => ({}),
        /createTaskService/,
        (value) => typeof value === "function",
      ),
      optionsOf("createTestShim"),
    ],
    options: { at: 1, of: testShimOptions },
  },
  {
    name: "TestShim.nextEvent",
    // No event comes.
    call: ({ shim }, [options]) =>
      left(options) || isEmpty(options) ? undefined : shim.nextEvent(options as never),
    args: [optionsOf("nextEvent", { timeoutMs: 1 })],
  },
];
