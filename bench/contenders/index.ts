/** The contenders. */

import { join } from "node:path";
import { hasDrivers } from "./package.js";

/** The contenders' names. */
export type Name = "package" | "sleeping" | "releasing" | "thread" | "plain" | "native" | "go" | "grpc";

/** Which side is compared: clients that call the native server, or servers that the native client calls. */
export type Side = "client" | "server";

/** One contender of a comparison. */
export interface Contestant {
  readonly name: Name;
  /** Its name in the report. */
  readonly label: string;
  /** Why it cannot take part, if it cannot. */
  readonly missing?: string;
  /** It speaks gRPC, so it is measured only with its own peer. */
  readonly own?: boolean;
  /** The command of its client. */
  client(): readonly string[];
  /** The command of its server at a path. */
  server(path: string): readonly string[];
}

/** Where the executables of the peers are. */
export interface Peers {
  readonly rust: string;
  /** Undefined if Go is not installed. */
  readonly go: string | undefined;
}

/** The command that runs a script of this folder. */
export function script(name: string, ...args: string[]): readonly string[] {
  return [process.execPath, "--import", "tsx", join(import.meta.dirname, name), ...args];
}

function inJavaScript(name: Name, label: string): Contestant {
  return {
    name,
    label,
    client: () => script("worker.ts", "client", name),
    server: (path) => script("worker.ts", "server", name, path),
  };
}

/** All contenders, in the order of the report. */
export function contestants({ rust, go }: Peers): ReadonlyMap<Name, Contestant> {
  const noDrivers = hasDrivers() ? {} : { missing: "needs the option `driver` of `connect`" };
  const noGo = go === undefined ? { missing: "needs Go" } : {};
  const all: Contestant[] = [
    inJavaScript("package", "this package"),
    inJavaScript("sleeping", "this package, busyPollMs 0"),
    inJavaScript("releasing", "this package, releasePayload"),
    { ...inJavaScript("thread", "this package, driver thread"), ...noDrivers },
    inJavaScript("plain", "plain JavaScript"),
    {
      name: "native",
      label: "native Rust",
      client: () => [rust, "bench-client"],
      server: (path) => [rust, "bench-server", "--address", `unix://${path}`, "--exit-on-stdin-eof"],
    },
    {
      ...noGo,
      name: "go",
      label: "Go",
      client: () => [go ?? "", "bench-client"],
      server: (path) => [go ?? "", "serve", "-address", `unix://${path}`, "-exit-on-stdin-eof"],
    },
    { ...inJavaScript("grpc", "grpc-js"), own: true },
  ];
  return new Map(all.map((each) => [each.name, each]));
}
