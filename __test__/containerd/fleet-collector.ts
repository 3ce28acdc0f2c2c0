import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { build, type Plugin } from "esbuild";
import { ROOT } from "../helpers/started.js";

/** A change of the example's source. */
export interface Mutation {
  /** The file in examples/fleet. */
  readonly file: string;
  /** What must be in it once. */
  readonly text: string;
  readonly by: string;
}

/** Builds the example as one file, which starts several times faster, with a mutation if there is one. */
export async function buildFleet(outfile: string, mutation?: Mutation): Promise<string> {
  const entryPoints = [join(ROOT, "examples/fleet/main.ts")];
  const plugins = mutation === undefined ? [] : [mutating(mutation)];
  await build({
    entryPoints,
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    packages: "external",
    plugins,
  });
  return outfile;
}

function mutating({ file, text, by }: Mutation): Plugin {
  return {
    name: "mutation",
    setup({ onLoad }) {
      onLoad({ filter: new RegExp(`/examples/fleet/${file}$`) }, ({ path }) => {
        const parts = readFileSync(path, "utf8").split(text);
        if (parts.length !== 2) throw new Error(`${file} has ${parts.length - 1} times: ${text}`);
        return { contents: parts.join(by), loader: "ts" };
      });
    },
  };
}

/** A collector that is started again whenever it is killed. */
export class Collector {
  readonly spool: string;
  readonly address: string;
  /** The most memory of those that were killed. */
  #rss = 0;
  readonly #program: string;
  readonly #args: string[];
  #child: ChildProcess | undefined;

  constructor(
    program: string,
    folder: string,
    host: string,
    args: string[],
    spool = join(folder, `${host}.db`),
  ) {
    this.#program = program;
    this.spool = spool;
    this.address = `unix://${join(folder, `${host}.sock`)}`;
    this.#args = ["collect", "--host", host, "--spool", this.spool, ...args];
  }

  async start(): Promise<void> {
    const child = spawn(process.execPath, [this.#program, ...this.#args], {
      stdio: ["ignore", "pipe", process.env["FLEET_DEBUG"] ? "inherit" : "ignore"],
    });
    this.#child = child;
    for await (const chunk of child.stdout) if (String(chunk).includes("collecting")) break;
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    this.#rss = this.mostMemory();
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }

  /** The most memory that any of its processes has used. */
  mostMemory(): number {
    const status = readFileSync(`/proc/${this.#child?.pid}/status`, "utf8");
    return Math.max(this.#rss, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) * 1024);
  }
}
