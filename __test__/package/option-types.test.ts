import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { userProject } from "../docs/project.js";
import { ROOT } from "../helpers/program.js";

/** What it asserts is checked for all inputs by `npm run surface`; here a compiler reads it as a user's would. */
const PROGRAM = `
import { createContextKey, createContextValues, createServer } from "containerd-shim-protos";
import {
  type AdjustmentSpec,
  type EvictionSpec,
  type PluginHandlers,
  type PluginOptions,
  runPlugin,
  type UpdateSpec,
} from "containerd-shim-protos/nri";
import type { ShimOptions } from "containerd-shim-protos/shim";
import type { TestShimOptions } from "containerd-shim-protos/shim/testing";
import { Task } from "containerd-shim-protos/task/v3";

type OptionalNames<T> = { [Name in keyof T]-?: {} extends Pick<T, Name> ? Name : never }[keyof T];
/** Every optional property of a type, undefined. */
type Undefined<T> = { readonly [Name in OptionalNames<T>]: undefined };

declare const undefinedHandlers: Undefined<PluginHandlers>;
declare const undefinedAdjustment: Undefined<AdjustmentSpec>;
declare const undefinedOptions: Undefined<PluginOptions>;
declare const undefinedShim: Undefined<ShimOptions>;
declare const undefinedTest: Undefined<TestShimOptions>;
declare const isLogging: boolean;

export const adjustment: AdjustmentSpec = undefinedAdjustment;
export const shim: ShimOptions = { createTaskService: () => ({}), ...undefinedShim };
export const testShim: TestShimOptions = undefinedTest;
export const update: UpdateSpec = { containerId: "a", resources: undefined, ignoreFailure: undefined };
export const eviction: EvictionSpec = { containerId: "a", reason: undefined };
export const deep: AdjustmentSpec = {
  resources: { cpu: { cpus: undefined, quota: undefined }, memory: { limit: undefined }, pids: undefined },
  devices: [{ path: "/dev/x", type: "c", major: 1, minor: 1, fileMode: undefined, uid: undefined }],
  hooks: { prestart: undefined, poststop: [{ path: "/x", args: undefined, timeout: undefined }] },
  seccomp: { defaultAction: "x", defaultErrno: undefined, syscalls: [{ names: [], action: "x", args: undefined }] },
  memoryPolicy: { mode: 0, nodes: undefined, flags: undefined },
  rdt: { closId: undefined, schemata: undefined, enableMonitoring: undefined },
};
runPlugin("a", "10", undefinedHandlers, undefinedOptions);
runPlugin("a", "10", {
  runPodSandbox: isLogging ? ({ pod }) => console.log(pod.name) : undefined,
  createContainer: () => ({ adjust: undefined, update: undefined, evict: undefined }),
});
createServer().add(Task, { state: undefined, wait: isLogging ? () => ({}) : undefined });

/** Handlers may be methods of a class, and may be set one by one. */
class Logger implements PluginHandlers {
  runPodSandbox() {}
  async synchronize() {
    return [];
  }
}
const handlers: PluginHandlers = new Logger();
handlers.shutdown = () => undefined;

/** A value is of its key's type. */
declare const token: string | undefined;
const user = createContextKey<string>("nobody");
createContextValues().set(user, "alice").set(createContextKey<string | undefined>("nobody"), token);
// @ts-expect-error: who reads the key expects a string.
createContextValues().set(user, token);
`;

test("what users may leave out may be undefined, and nothing else, under exactOptionalPropertyTypes too", () => {
  const folder = userProject({ "program.ts": PROGRAM });
  let output = "";
  try {
    execFileSync(process.execPath, [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", folder]);
  } catch (error) {
    output = String((error as { readonly stdout?: Buffer }).stdout);
  }
  expect(output).toBe("");
});
