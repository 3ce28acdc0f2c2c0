import type { Contender } from "./contender.js";

/** Only what a process measures is loaded into it. */
const loaders: Record<string, () => Promise<Contender>> = {
  package: async () => (await import("./package.js")).thisPackage(),
  thread: async () => (await import("./package.js")).thisPackage("thread"),
  plain: async () => (await import("./plain/contender.js")).plain,
  grpc: async () => (await import("./grpc.js")).grpc,
};

/** Loads a contender in JavaScript. */
export async function loadContender(name: string): Promise<Contender> {
  const loader = loaders[name];
  if (loader === undefined) throw new Error(`no contender ${name}`);
  return loader();
}
