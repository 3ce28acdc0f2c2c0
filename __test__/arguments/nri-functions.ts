import { Duplex, PassThrough } from "node:stream";
import {
  createTestRuntime,
  Mux,
  type MuxConnectOptions,
  type MuxOptions,
  type PluginOptions,
  type PluginReconnectOptions,
  resources,
  runPlugin,
  type TestRuntimeOptions,
  type UpdateOptions,
} from "containerd-shim-protos/nri";
import type { PublicFunction, World } from "./functions.js";
import * as o from "./options.js";

const { argument, isEmpty, left, limit, optionsOf, signal } = o;
const muxOptions: o.Options<MuxOptions> = { stallTimeoutMs: limit(/stallTimeoutMs/) };
const muxConnectOptions: o.Options<MuxConnectOptions> = {
  ...muxOptions,
  connectTimeoutMs: limit(/connectTimeoutMs/),
  signal,
};
const pluginOptions: o.Options<PluginOptions> = {
  socket: argument(({ free }: World) => free(), /socket|address/, left),
  events: o.texts(/events/),
  reconnect: argument(
    false,
    /reconnect/,
    (value) => left(value) || typeof value === "boolean" || isEmpty(value),
  ),
  failurePolicy: argument({}, /failurePolicy/, (value) => left(value) || isEmpty(value)),
  registrationTimeoutMs: limit(/registrationTimeoutMs/),
  log: argument(console, /log/, left),
  ownsProcess: o.flag(/ownsProcess/),
  signal,
  driver: o.driver,
};
const reconnectOptions: o.Options<PluginReconnectOptions> = {
  initialDelayMs: o.ms(/reconnect\.initialDelayMs/, 1),
  maxDelayMs: o.ms(/reconnect\.maxDelayMs/, 1),
  giveUpMs: o.ms(/reconnect\.giveUpMs/, 1),
};
const string = (named: RegExp) =>
  argument("text", named, (value) => left(value) || typeof value === "string");
const testRuntimeOptions: o.Options<TestRuntimeOptions> = {
  name: string(/name/),
  version: string(/version/),
  config: string(/config/),
  registrationTimeoutMs: limit(/registrationTimeoutMs/),
  requestTimeoutMs: limit(/requestTimeoutMs/),
  partSize: limit(/partSize/),
};
const updateOptions: o.Options<UpdateOptions> = { timeoutMs: o.ms(/timeoutMs/, 0) };
const QUIET = { info: () => undefined, warn: () => undefined, error: () => undefined };
const name = argument("tester", /name/, (value) => value === "text");
/** Handlers may be an instance of any class. */
const handlers = argument({}, /handlers/, (value) => {
  try {
    return typeof value === "object" && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
});
const list = (named: RegExp) => argument([], named, o.isNoItems);
const init = argument({}, /init/, (value) => left(value) || isEmpty(value));
const pod = argument({}, /pod/, isEmpty);
const spec = argument({}, /resources/, isEmpty);

function run([as, at, given, options]: readonly unknown[]): Promise<void> {
  return runPlugin(as as never, at as never, given as never, options as never).close();
}

/** Plugins, their transport, and the runtime for tests. */
export const NRI_FUNCTIONS: readonly PublicFunction[] = [
  {
    name: "runPlugin",
    optionsType: "PluginOptions",
    call: (_, args) => run(args),
    args: [
      name,
      argument("10", /index/),
      handlers,
      optionsOf("runPlugin", { ownsProcess: false, log: QUIET }),
    ],
    options: { at: 3, of: pluginOptions },
  },
  {
    name: "runPlugin, its reconnect",
    optionsType: "PluginReconnectOptions",
    call: (_, [reconnect]) => run(["tester", "10", {}, { ownsProcess: false, log: QUIET, reconnect }]),
    args: [pluginOptions.reconnect],
    options: { at: 0, of: reconnectOptions },
  },
  { name: "resources", call: (_, [given]) => resources(given as never), args: [spec] },
  {
    name: "Mux",
    optionsType: "MuxOptions",
    call: (_, [trunk, options]) => new Mux(trunk as never, options as never).close(),
    args: [argument(() => new PassThrough(), /trunk/), optionsOf("Mux")],
    options: { at: 1, of: muxOptions },
  },
  {
    name: "Mux.connect",
    optionsType: "MuxConnectOptions",
    call: (_, [to, options]) => Mux.connect(to as never, options as never),
    args: [o.address(/address/), optionsOf("Mux.connect")],
    options: { at: 1, of: muxConnectOptions },
  },
  {
    name: "Mux.open",
    call: async (_, [id]) => {
      const mux = new Mux(new Duplex({ read: () => undefined }));
      try {
        mux.open(id as never);
      } finally {
        await mux.close();
      }
    },
    args: [argument(1, /number/)],
  },
  {
    name: "createTestRuntime",
    optionsType: "TestRuntimeOptions",
    call: async (_, [options]) => (await createTestRuntime(options as never)).close(),
    args: [optionsOf("createTestRuntime")],
    options: { at: 0, of: testRuntimeOptions },
  },
  {
    name: "TestRuntime.start",
    call: async ({ runtime }, [as, at, given, options]) =>
      (await runtime.start(as as never, at as never, given as never, options as never)).close(),
    args: [name, argument("11", /index/), handlers, optionsOf("start")],
  },
  {
    name: "TestRuntime.joined",
    // Nobody of another name joins.
    call: ({ runtime }, [id]) => (typeof id === "string" ? undefined : runtime.joined(id as never)),
    args: [argument("10-world", /id/, (value) => typeof value === "string")],
  },
  {
    name: "TestRuntime.runPod",
    call: ({ runtime }, [given]) => runtime.runPod(given as never),
    args: [init],
  },
  {
    name: "TestRuntime.updatePod",
    call: ({ runtime }, [of, given, overhead]) =>
      runtime.updatePod(of as never, given as never, overhead as never),
    args: [pod, spec, argument({}, /overhead/, (value) => left(value) || isEmpty(value))],
  },
  {
    name: "TestRuntime.createContainer",
    call: ({ runtime }, [of, given]) => runtime.createContainer(of as never, given as never),
    args: [pod, init],
  },
  ...(["stopPod", "removePod"] as const).map((method): PublicFunction => ({
    name: `TestRuntime.${method}`,
    call: ({ runtime }, [of]) => runtime[method](of as never),
    args: [pod],
  })),
  ...(["startContainer", "stopContainer", "removeContainer"] as const).map((method): PublicFunction => ({
    name: `TestRuntime.${method}`,
    call: ({ runtime }, [of]) => runtime[method](of as never),
    // An empty one belongs to no pod.
    args: [argument({}, /container|there is no pod/)],
  })),
  {
    name: "TestRuntime.updateContainer",
    call: ({ runtime }, [container, given]) => runtime.updateContainer(container as never, given as never),
    args: [argument(({ pod: of }: World) => ({ podSandboxId: of.id }), /container|there is no pod/), spec],
  },
  {
    name: "RunningPlugin.updateContainers",
    optionsType: "UpdateOptions",
    call: ({ plugin }, [updates, options]) => plugin.updateContainers(updates as never, options as never),
    args: [list(/updates/), optionsOf("updateContainers")],
    options: { at: 1, of: updateOptions },
  },
  {
    name: "RunningPlugin.evict",
    call: ({ plugin }, [evictions, options]) => plugin.evict(evictions as never, options as never),
    args: [list(/evictions/), optionsOf("evict")],
    options: { at: 1, of: updateOptions },
  },
];
