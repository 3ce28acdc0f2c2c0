import { type ParseArgsConfig, parseArgs } from "node:util";

type Options = NonNullable<ParseArgsConfig["options"]>;

/** Parses options; with `--help` it prints the usage and ends. */
export function parsed<T extends Options>(usage: string, options: T, args: string[]) {
  const all = { ...options, help: { type: "boolean" } } as const;
  const { values } = parseArgs({ args, options: all as T & { help: { type: "boolean" } } });
  if ((values as { help?: boolean }).help === true) {
    console.log(usage);
    process.exit(0);
  }
  return values;
}

/** How to reach NATS. Secrets are in files, because everybody on a host sees the arguments of a process. */
export const NATS_OPTIONS = {
  nats: { type: "string" },
  creds: { type: "string" },
  user: { type: "string" },
  "password-file": { type: "string" },
  "token-file": { type: "string" },
  "tls-ca": { type: "string" },
  "tls-cert": { type: "string" },
  "tls-key": { type: "string" },
  stream: { type: "string", default: "CONTAINERD" },
} as const;

export const NATS_USAGE = `  --nats URL            such as nats://localhost:4222 or tls://…; several are separated by commas
  --creds FILE          a credentials file, as nsc makes it
  --user NAME           a user, with --password-file FILE, instead of --creds
  --token-file FILE     a token, instead of --creds and --user
  --tls-ca FILE         the authorities to trust; with any --tls option, TLS is required
  --tls-cert FILE       a client's certificate, with --tls-key FILE
  --stream NAME         the stream of JetStream (default: CONTAINERD)`;

/** A number of bytes: 1000000, 512MiB, 2GiB. */
export function bytes(text: string): number {
  const [, digits = "", unit = ""] = /^(\d+)(|KiB|MiB|GiB)$/.exec(text) ?? [];
  if (digits === "") throw new Error(`${text} is not a number of bytes, such as 512MiB`);
  return Number(digits) * 1024 ** ["", "KiB", "MiB", "GiB"].indexOf(unit);
}

/** A whole number, 1 or more. */
export function whole(option: string, text: string): number {
  const number = Number(text);
  if (!/^\d+$/.test(text) || number < 1 || !Number.isSafeInteger(number))
    throw new Error(`--${option} must be a whole number, 1 or more, not ${JSON.stringify(text)}`);
  return number;
}

/** A time: RFC 3339, or how long ago, such as 90s, 5m, 2h, 7d. */
export function time(text: string): Date {
  const [, digits, unit = ""] = /^(\d+)([smhd])$/.exec(text) ?? [];
  const seconds = { s: 1, m: 60, h: 3600, d: 86_400 }[unit] ?? 0;
  const date = new Date(digits === undefined ? text : Date.now() - Number(digits) * seconds * 1000);
  if (Number.isNaN(date.getTime()))
    throw new Error(`${text} is not a time, such as 5m, 2h or an RFC 3339 time`);
  return date;
}
