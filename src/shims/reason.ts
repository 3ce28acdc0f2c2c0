import { lstatSync } from "node:fs";
import { pathOf } from "./bundles.js";
import { codeName } from "../code.js";
import { ERR_TTRPC_CLOSED, textOf, TtrpcError } from "../error.js";

/** Why a shim could not be asked, in a few words: the system's error name, the status, or what is at its address. */
export function reasonOf(error: unknown, address = ""): string {
  const { code, message = "" } = ((error as Error).cause ?? {}) as { code?: unknown; message?: string };
  if (!(error instanceof TtrpcError)) return textOf(error);
  if (typeof code !== "string") return `${codeName(error.code)}: ${error.rawMessage}`;
  if (code === "ECONNREFUSED") return notASocket(address) ?? code;
  if (code !== ERR_TTRPC_CLOSED) return code;
  return /\bHTTP\//.test(message) ? "it speaks HTTP, not ttrpc" : message;
}

/** What is at the path of an address, if it is no socket, to which the kernel refuses connections all the same. */
export function notASocket(address: string): string | undefined {
  const path = pathOf(address);
  if (!path.startsWith("/")) return undefined;
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined || stats.isSocket() || stats.isSymbolicLink()) return undefined;
  return `it is a ${stats.isDirectory() ? "folder" : "file"}, not a socket`;
}
