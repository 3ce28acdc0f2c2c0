/** Who takes part. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { hasDrivers } from "./package.js";

const ROOT = join(import.meta.dirname, "../..");
/** The peer in Rust. */
export const RUST_PEER = join(ROOT, "target/release/shim-peer");
/** The peer in Go. */
export const GO_PEER = join(ROOT, "target/go-peer");

/** The contenders' names. */
export type Name = "package" | "thread" | "plain" | "native" | "go" | "grpc";

/** One of those to compare. */
export interface Entrant {
  readonly name: Name;
  /** What the report calls it. */
  readonly label: string;
  /** The command of its client. */
  client(): readonly string[];
  /** The command of its server at a path. */
  server(path: string): readonly string[];
  /** Whether it can take part here. */
  available(): boolean;
  /** It speaks gRPC, so it is measured with its own peer only. */
  readonly own?: boolean;
}

const worker = (...args: string[]) => [
  process.execPath,
  "--import",
  "tsx",
  join(import.meta.dirname, "worker.ts"),
  ...args,
];

function inJavaScript(name: Name, label: string, available = () => true): Entrant {
  return {
    name,
    label,
    client: () => worker("client", name),
    server: (path) => worker("server", name, path),
    available,
  };
}

/** All, in the order of the report. */
export const entrants: readonly Entrant[] = [
  inJavaScript("package", "this package"),
  inJavaScript("thread", "this package, driver thread", hasDrivers),
  inJavaScript("plain", "plain JavaScript"),
  {
    name: "native",
    label: "native Rust",
    client: () => [RUST_PEER, "bench-client"],
    server: (path) => [RUST_PEER, "bench-server", "--address", `unix://${path}`, "--exit-on-stdin-eof"],
    available: () => existsSync(RUST_PEER),
  },
  {
    name: "go",
    label: "Go",
    client: () => [GO_PEER, "bench-client"],
    server: (path) => [GO_PEER, "serve", "-address", `unix://${path}`, "-exit-on-stdin-eof"],
    available: () => existsSync(GO_PEER),
  },
  { ...inJavaScript("grpc", "grpc-js"), own: true },
];
