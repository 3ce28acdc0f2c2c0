import { Buffer } from "node:buffer";
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, constants, fstatSync, openSync } from "node:fs";
import type { Socket } from "node:net";
import type { ShimArguments } from "./arguments.js";
import { readStdin } from "./read-stdin.js";

/** Names the server's end of the pair of sockets through which it answers `start`. */
export const STARTER_VARIABLE = "CONTAINERD_SHIM_STARTER";
const STARTER = 3;

/** The first byte of the answer; the rest is what goes to stdout, or why nothing does. */
export const STARTED = 0;
export const FAILED = 1;

/**
 * Starts the server as a daemon, hands it what containerd wrote, and passes its answer on. The server decides on the
 * address, listens and only then answers, so whoever reads the address can connect, and whatever stops it from serving
 * is what containerd shows.
 *
 * containerd reads stdout and stderr to their ends as one answer. So the daemon has neither, and this process writes
 * nothing but the answer: it runs no code of the shim's and loads nothing, which also makes it quick.
 */
export async function start(name: string, args: ShimArguments): Promise<void> {
  const log = openLog();
  const server = spawnServer(name, args, log);
  closeSync(log);
  const answer = await answerOf(server, readStdin());
  // The failure of the write is reported twice.
  process.stdout.on("error", () => undefined);
  process.stdout.write(answer, (error) => {
    // Nobody takes the answer, so nobody will ever know of the server.
    if (error) server.kill();
    process.exit(error ? 1 : 0);
  });
}

function spawnServer(name: string, { namespace, id, address, bundle, debug }: ShimArguments, log: number) {
  const args = ["-namespace", namespace, "-id", id, "-address", address, "-bundle", bundle || process.cwd()];
  if (debug) args.push("-debug");
  if (process.env["SCHED_CORE"]) {
    throw new Error("SCHED_CORE needs a packed shim, because Node cannot ask the kernel for it");
  }
  const node = process.execArgv.filter((arg) => !arg.startsWith("--inspect"));
  return spawn(process.execPath, [...node, process.argv[1] ?? "", ...args], {
    // What ps shows in place of "node", and what containerd makes of the runtime's name.
    argv0: ["containerd-shim", ...name.split(".").slice(-2)].join("-"),
    // The bundle will be removed, and a shim may outlive it.
    cwd: "/",
    detached: true,
    env: { ...process.env, [STARTER_VARIABLE]: String(STARTER) },
    stdio: ["ignore", log, log, "pipe"],
  });
}

/** What the server answers. Rejects with the reason that it gives, or with how it ended without one. */
function answerOf(server: ChildProcess, input: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const settle = (otherwise: string) => {
      const answer = Buffer.concat(chunks);
      if (answer[0] === STARTED) resolve(answer.subarray(1));
      else reject(new Error(answer[0] === FAILED ? answer.toString("utf8", 1) : otherwise));
    };
    server.once("error", (error) => settle(`the server did not start: ${error.message}`));
    server.once("close", (code, signal) =>
      settle(`the server ended with ${signal ?? code} before it served`),
    );
    // If no descriptors are left, Node gives the process no streams, and reports the error later.
    const wire = (server.stdio as readonly unknown[] | undefined)?.[STARTER] as Socket | undefined;
    if (wire === undefined) return;
    wire.on("data", (chunk: Buffer) => chunks.push(chunk));
    wire.once("end", () => chunks.length > 0 && settle(""));
    // If the server has gone, how it ended says more.
    wire.on("error", () => undefined);
    wire.end(input);
  });
}

/** The pipe to containerd's log, which is opened so that neither opening nor writing ever waits for its reader. */
function openLog(): number {
  try {
    const fd = openSync("log", constants.O_RDWR | constants.O_NONBLOCK);
    if (fstatSync(fd).isFIFO()) return fd;
    closeSync(fd);
  } catch {
    // Without containerd there is none.
  }
  return openSync("/dev/null", "r+");
}
