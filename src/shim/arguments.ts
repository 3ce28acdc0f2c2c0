import { parseArgs } from "node:util";

/** What containerd asks for on a shim's command line. */
export interface ShimArguments {
  readonly action: "start" | "delete" | "serve" | "info" | "version";
  readonly namespace: string;
  readonly id: string;
  /** containerd's own gRPC socket. */
  readonly address: string;
  /** Where to listen, for a shim started by hand. */
  readonly socket: string;
  /** The bundle's folder; empty means the working directory. */
  readonly bundle: string;
  readonly debug: boolean;
}

const TEXT = { type: "string", default: "" } as const;
const FLAG = { type: "boolean", default: false } as const;

/**
 * Reads a shim's command line. Its flags have one dash, as in Go. Throws an Error that names what is wrong.
 */
export function parseArguments(args: readonly string[]): ShimArguments {
  const { values, positionals } = parseArgs({
    // parseArgs reads the letters after a single dash as flags of one letter each.
    args: args.map((arg) => arg.replace(/^-(?=[a-z])/, "--")),
    allowPositionals: true,
    options: {
      namespace: TEXT,
      id: TEXT,
      address: TEXT,
      socket: TEXT,
      bundle: TEXT,
      debug: FLAG,
      info: FLAG,
      v: FLAG,
      version: FLAG,
      // containerd passes it, but it is not needed: events go to TTRPC_ADDRESS.
      "publish-binary": TEXT,
      "debug-socket": TEXT,
    },
  });
  const { namespace, id, address, socket, bundle, debug } = values;
  const common = { namespace, id, address, socket, bundle, debug };
  if (values.v || values.version) return { ...common, action: "version" };
  if (values.info) return { ...common, action: "info" };
  const [action = "serve", ...rest] = positionals;
  if ((action !== "start" && action !== "delete" && action !== "serve") || rest.length > 0) {
    throw new Error(`the action must be start or delete, not ${positionals.join(" ")}`);
  }
  // In the foreground, nobody else needs to know them.
  if (action === "serve" && socket !== "") {
    return { ...common, action, namespace: namespace || "default", id: id || "shim" };
  }
  // Both become part of paths and of the socket's name.
  if (namespace === "") throw new Error("-namespace must not be empty");
  if (id === "") throw new Error("-id must not be empty");
  return { ...common, action };
}
