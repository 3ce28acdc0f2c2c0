import { readFileSync } from "node:fs";
import {
  type Authenticator,
  credsAuthenticator,
  type TlsOptions,
  tokenAuthenticator,
  usernamePasswordAuthenticator,
} from "@nats-io/transport-node";

/** How a client proves to NATS who it is, and whom it trusts. */
export interface AccessOptions {
  readonly nats?: string | undefined;
  readonly creds?: string | undefined;
  readonly user?: string | undefined;
  readonly "password-file"?: string | undefined;
  readonly "token-file"?: string | undefined;
  readonly "tls-ca"?: string | undefined;
  readonly "tls-cert"?: string | undefined;
  readonly "tls-key"?: string | undefined;
}

type FileOption = "creds" | "password-file" | "token-file" | "tls-ca" | "tls-cert" | "tls-key";

/**
 * The client's options for access. Throws an error that names the option and the file if a file cannot be read, or if
 * options contradict each other.
 */
export function accessOf(options: AccessOptions): {
  authenticator?: Authenticator;
  tls?: TlsOptions;
} {
  const ways = (["creds", "user", "token-file"] as const).filter((name) => options[name] !== undefined);
  if (ways.length > 1) throw new Error(`${ways.map((name) => `--${name}`).join(" and ")} exclude each other`);
  together(options, "user", "password-file");
  together(options, "tls-cert", "tls-key");
  const authenticator = authenticatorOf(options);
  const ca = contentOf(options, "tls-ca");
  const cert = contentOf(options, "tls-cert");
  const key = contentOf(options, "tls-key");
  const tls: TlsOptions = {
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
  };
  // The client itself takes a server without TLS for a tls:// URL.
  const isTls = Object.keys(tls).length > 0 || /(^|,)tls:/.test(options.nats ?? "");
  return { ...(authenticator && { authenticator }), ...(isTls && { tls }) };
}

function authenticatorOf(options: AccessOptions): Authenticator | undefined {
  const creds = contentOf(options, "creds");
  if (creds !== undefined) return credsAuthenticator(Buffer.from(creds));
  if (options.user !== undefined) {
    return usernamePasswordAuthenticator(options.user, secretOf(options, "password-file"));
  }
  const token = secretOf(options, "token-file");
  return token === undefined ? undefined : tokenAuthenticator(token);
}

function together(options: AccessOptions, one: keyof AccessOptions, other: keyof AccessOptions): void {
  if ((options[one] === undefined) !== (options[other] === undefined))
    throw new Error(`--${one} and --${other} belong together`);
}

function contentOf(options: AccessOptions, name: FileOption): string | undefined {
  const path = options[name];
  if (path === undefined) return undefined;
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new Error(`--${name}: ${(cause as Error).message}`, { cause });
  }
}

/** A secret in a file, whose last line may end with a newline. */
function secretOf(options: AccessOptions, name: FileOption): string | undefined {
  return contentOf(options, name)?.replace(/\r?\n$/, "");
}
