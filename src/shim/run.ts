import { basename } from "node:path";
import { parseArguments, type ShimArguments } from "./arguments.js";
import { placeOf } from "../place.js";
import { shown, textOf } from "../value-kinds.js";
import { checkShim, type ShimOptions } from "./options.js";

/**
 * Runs a shim: does what containerd asks for on the command line, and ends the process. Call it once, at the top of a
 * program named `containerd-shim-NAME-VERSION`; `ctr run --runtime io.containerd.NAME.VERSION` then finds the program on
 * containerd's PATH. The promise never rejects: an error is written to stderr, and the process exits with 1.
 *
 * - `start` starts the server in a session of its own, which keeps running after `start` has written its address
 * - `delete` cleans up after a container whose shim has gone
 * - `-info` and `-version` describe the runtime
 * - otherwise it serves in the foreground on `-socket PATH`, with its log on stderr, for debugging
 *
 * ```ts
 * runShim("io.containerd.example.v1", {
 *   createTaskService: async (context) => (await import("./service.js")).createService(context),
 *   delete: async ({ id }) => (await import("./clean-up.js")).cleanUp(id),
 * });
 * ```
 *
 * @param name - The name of the runtime, for the log and for `-info`.
 */
export async function runShim(name: string, options: ShimOptions): Promise<void> {
  // containerd parses this output as an address or a message, so warnings must not appear in it.
  process.removeAllListeners("warning");
  // systemd gives it to containerd. With it, runc's start waits until the container reports to systemd.
  delete process.env["NOTIFY_SOCKET"];
  try {
    checkShim(name, options);
    if (process.env[DESCRIBE_VARIABLE] !== undefined) {
      const { groupAnnotations: groups = [] } = options;
      process.stdout.write(JSON.stringify({ name, groups }), () => process.exit(0));
      return;
    }
    const args = parseArguments(process.argv.slice(2));
    await (
      await phase(args)
    )(name, args, options);
  } catch (error) {
    process.stderr.write(`${shown(name)}: ${textOf(error)}${placeOf(error)}\n`, () => process.exit(1));
  }
}

/** With it, a shim only says what its launcher has to know: `shimctl pack` asks. */
export const DESCRIBE_VARIABLE = "CONTAINERD_SHIM_DESCRIBE";

type Phase = (name: string, args: ShimArguments, options: ShimOptions) => void | Promise<void>;

/** Each phase loads only what it needs, because whoever runs a container waits for `start`. */
async function phase({ action }: ShimArguments): Promise<Phase> {
  switch (action) {
    case "start":
      return (await import("./start.js")).start;
    case "serve":
      return (await import("./serve.js")).serve;
    case "delete":
      return (await import("./delete.js")).runDelete;
    case "info":
      return (await import("./info.js")).runInfo;
    case "version":
      return (_name, _args, { version = "0.0.0" }) => {
        const program = basename(process.argv[1] ?? "");
        process.stdout.write(`${program}:\n  Version:  ${version}\n  Node.js:  ${process.version}\n`);
      };
  }
}
