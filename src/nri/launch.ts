import { fstatSync } from "node:fs";
import type { Address } from "../address.js";
import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import { shown } from "../value-kinds.js";

/** Where runtimes listen for plugins. */
const DEFAULT_SOCKET = "unix:///var/run/nri/nri.sock";

/** Who the plugin is and how it reaches its runtime. */
export interface Launch {
  readonly name: string;
  readonly index: string;
  readonly socket: Address;
}

/** Descriptors of the environment that were taken: a second plugin must not take what the first one has. */
const taken = new Set<number>();

/**
 * How the plugin was started. A runtime that launches a plugin names it in the environment, after the file that it
 * launched, and hands over a connected socket.
 */
export function launchOf(name: unknown, index: unknown, socket: Address | undefined): Launch {
  const { NRI_PLUGIN_SOCKET: handed, NRI_PLUGIN_NAME, NRI_PLUGIN_IDX } = process.env;
  const own = {
    name: checkedName(name, "the plugin's name"),
    index: checkedIndex(index, "the plugin's index"),
  };
  // An empty variable is what a manifest may make of an absent one.
  if (socket !== undefined || !handed) return { ...own, socket: socket ?? DEFAULT_SOCKET };
  return {
    // The file's name, which a runtime does not restrict.
    name: NRI_PLUGIN_NAME || own.name,
    index: checkedIndex(NRI_PLUGIN_IDX || own.index, "NRI_PLUGIN_IDX"),
    socket: { fd: inherited(handed) },
  };
}

function inherited(text: string): number {
  const fd = /^\d+$/.test(text) ? Number(text) : -1;
  const where = `NRI_PLUGIN_SOCKET, ${JSON.stringify(text)},`;
  if (taken.has(fd))
    throw new TtrpcError(`${where} is taken by another plugin of this process`, Code.FailedPrecondition);
  try {
    if (fd < 0 || !fstatSync(fd).isSocket()) throw new Error("it is not a socket");
  } catch (cause) {
    throw new TtrpcError(`${where} is not the descriptor of a socket`, Code.FailedPrecondition, { cause });
  }
  taken.add(fd);
  return fd;
}

function checkedName(name: unknown, what: string): string {
  if (typeof name === "string" && /^[\w.+-]+$/.test(name)) return name;
  throw new TypeError(`${what} must consist of letters, digits and -_.+, and not be ${shown(name)}`);
}

function checkedIndex(index: unknown, what: string): string {
  if (typeof index === "string" && /^\d\d$/.test(index)) return index;
  throw new TypeError(`${what} must be two digits, such as "10", not ${shown(index)}`);
}
