import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseAddress } from "../address.js";
import { encode } from "../codec/codec.js";
import { textOf } from "../error.js";
import { definedFields } from "../options.js";
import { reclaimStale } from "../server/socket-file.js";
import { DeleteResponseSchema } from "../protos/task/v3.js";
import type { ShimArguments } from "./arguments.js";
import type { ShimOptions } from "./options.js";
import { timestampFromDate } from "./timestamp.js";

/** 128 plus SIGKILL: a container counts as killed unless its end is known. */
const KILLED = 137;

/** Cleans up after a container, and writes how it ended to stdout. containerd keeps stderr apart. */
export async function runDelete(_name: string, args: ShimArguments, options: ShimOptions): Promise<void> {
  const write = answerOnStdout();
  const { id, namespace, address, debug } = args;
  const bundle = resolve(args.bundle);
  const ended = await options.delete?.({ id, namespace, bundle, containerdAddress: address, debug });
  removeDeadSocket(bundle);
  const reply = { exitStatus: KILLED, exitedAt: timestampFromDate(new Date()), ...definedFields(ended) };
  write(encode(DeleteResponseSchema, reply));
}

/** Removes the socket of a killed shim, unless the shim of another container listens on it. */
function removeDeadSocket(bundle: string): void {
  const address =
    unlessMissing(() => readFileSync(join(bundle, "address"), "utf8")) ??
    unlessMissing(
      () => (JSON.parse(readFileSync(join(bundle, "bootstrap.json"), "utf8")) as { address: string }).address,
    );
  if (address?.startsWith("unix://") !== true) return;
  try {
    reclaimStale(parseAddress(address));
  } catch (error) {
    // The container is cleaned up all the same.
    console.error(textOf(error));
  }
}

function unlessMissing(read: () => string): string | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** Keeps stdout for the answer: other output goes to stderr. The answer ends the process. */
export function answerOnStdout(): (answer: Uint8Array) => void {
  const { stdout, stderr } = process;
  Object.defineProperty(process, "stdout", { configurable: true, enumerable: true, value: stderr });
  return (answer) => stdout.write(answer, () => process.exit(0));
}
