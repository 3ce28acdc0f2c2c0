import { parseArgs } from "node:util";

/** The options of the command line. */
export interface Options {
  readonly help: boolean;
  readonly address: string | undefined;
  readonly id: string;
  readonly task: "v2" | "v3" | undefined;
  readonly calls: number;
}

/** The command line is wrong. */
export class UsageError extends Error {}

export const help = `Usage: npm run demo -- [options]

Starts a Task server in a second process, calls it, and prints what happened and how fast.

  --calls N        how many calls to measure (100000)

With --address, asks a shim that is already running instead:

  --address A      the shim's address: unix:///path, a bare path, unix://@name, tcp://ip:port
                   or vsock://cid:port
  --id ID          the container to ask about; without it only Connect can succeed
  --task v2|v3     the version of the Task service (v3, or v2 if the shim has no v3)

  --help           print this help`;

/** Reads the command line. Throws a {@link UsageError} that says what is wrong with it. */
export function readOptions(args: string[]): Options {
  const { help: asked = false, address, id, task, calls } = parse(args);
  if (address === undefined) {
    if (id !== undefined) throw new UsageError("--id needs --address");
    if (task !== undefined) throw new UsageError("--task needs --address");
  } else if (calls !== undefined) {
    throw new UsageError("--calls does not go with --address");
  }
  if (task !== undefined && task !== "v2" && task !== "v3") {
    throw new UsageError(`--task must be v2 or v3, not ${JSON.stringify(task)}`);
  }
  if (calls !== undefined && !/^[1-9]\d{0,6}$/.test(calls)) {
    throw new UsageError(`--calls must be a number from 1 to 9999999, not ${JSON.stringify(calls)}`);
  }
  return { help: asked, address, id: id ?? "", task, calls: Number(calls ?? 100_000) };
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        help: { type: "boolean" },
        address: { type: "string" },
        id: { type: "string" },
        task: { type: "string" },
        calls: { type: "string" },
      },
    }).values;
  } catch (error) {
    // The rest of the message explains positional arguments, which the demo does not have.
    throw new UsageError((error as Error).message.split(/[.\n]/, 1)[0]);
  }
}
