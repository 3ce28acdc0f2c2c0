import type { Contender } from "./contender.js";

/** A process loads only the contender that it measures. */
const loaders: Record<string, () => Promise<Contender>> = {
  package: async () => (await import("./package.js")).thisPackage(),
  sleeping: async () => (await import("./package.js")).thisPackage({ busyPollMs: 0 }),
  releasing: async () => (await import("./package.js")).releasing(),
  thread: async () => (await import("./package.js")).thisPackage({ driver: "thread" }),
  plain: async () => (await import("./plain/contender.js")).plain,
  grpc: async () => (await import("./grpc.js")).grpc,
};

/** Loads a JavaScript contender. */
export async function loadContender(name: string): Promise<Contender> {
  const loader = loaders[name];
  if (loader === undefined) throw new Error(`no contender ${name}`);
  return loader();
}
