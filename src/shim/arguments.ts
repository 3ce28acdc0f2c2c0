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

/** The flags with a value. The events go to TTRPC_ADDRESS, so `publish-binary` has no use. */
const TEXTS = ["namespace", "id", "address", "socket", "bundle", "publish-binary", "debug-socket"] as const;
const SWITCHES = ["debug", "info", "v", "version"] as const;

type Values = Record<(typeof TEXTS)[number], string> & Record<(typeof SWITCHES)[number], boolean>;

/** Why a shim that nobody has told what to do ends. */
export const NOTHING_TO_DO = "there is nothing to do without start, delete, -info, -version or -socket PATH";

/**
 * Reads a shim's command line. Its flags have one dash or two, as in Go. Throws an Error that names what is wrong.
 */
export function parseArguments(args: readonly string[]): ShimArguments {
  if (args.length === 0) throw new Error(NOTHING_TO_DO);
  const { values, positionals } = valuesOf(args);
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

function valuesOf(args: readonly string[]): { values: Values; positionals: string[] } {
  const values = {} as Values;
  for (const name of TEXTS) values[name] = "";
  for (const name of SWITCHES) values[name] = false;
  const positionals: string[] = [];
  const rest = args[Symbol.iterator]();
  for (const arg of rest) {
    const [, name, value] = /^--?([^=]+)(?:=(.*))?$/s.exec(arg) ?? [];
    if (name === undefined) positionals.push(arg);
    else if (isOneOf(SWITCHES, name)) values[name] = value !== "false";
    else if (isOneOf(TEXTS, name)) values[name] = value ?? next(rest, name);
    else
      throw new Error(
        `there is no flag -${name}, only ${[...TEXTS, ...SWITCHES].map((one) => `-${one}`).join(", ")}`,
      );
  }
  return { values, positionals };
}

function isOneOf<Name extends string>(names: readonly Name[], name: string): name is Name {
  return (names as readonly string[]).includes(name);
}

function next(rest: Iterator<string>, name: string): string {
  const { done, value } = rest.next();
  if (done === true) throw new Error(`-${name} needs a value`);
  return value;
}
