import { Buffer } from "node:buffer";
import { isIP } from "node:net";
import { Duplex } from "node:stream";
import type { BindingAddress } from "./native/addon.js";
import { requireDescriptorSockets } from "./native/driver.js";
import { isFileDescriptor, isInstance, isRevoked, shown } from "./value-kinds.js";

/**
 * Where to connect or listen:
 *
 * - `unix:///run/my.sock`, or the bare path, as containerd puts it into `TTRPC_ADDRESS`
 * - `unix://@name`: a name in the abstract namespace
 * - `tcp://127.0.0.1:1234`, `tcp://[::1]:1234`: an IP address; names are not resolved
 * - `vsock://2:1024`: a context id and a port
 * - `hvsock:///run/vm.sock:1024`: a guest's port behind its hypervisor's unix socket (Cloud Hypervisor, Firecracker);
 *   for connecting only
 * - `{ fd: 3 }`: an inherited descriptor, which the package owns from then on: a connected socket or, for a server, also
 *   a listening socket
 * - a Node `Duplex`, for any other transport, which the package owns from then on; a server serves the one peer at the
 *   Duplex's other end
 */
export type Address = string | { readonly fd: number } | Duplex;

/** A parsed address: how to show it, and what is passed to the addon. */
export interface ParsedAddress {
  readonly text: string;
  readonly fd?: number;
  readonly duplex?: Duplex;
  readonly binding?: BindingAddress;
}

/** The most bytes in a unix socket's name: the kernel's field has 108, of which the last is a NUL. */
export const UNIX_LIMIT = 107;

/**
 * Parses an address. Throws a TypeError that says what is wrong with it.
 *
 * @param what - How the error refers to a value that is no address at all.
 */
export function parseAddress(address: Address, what = "an address"): ParsedAddress {
  if (isInstance(address, Duplex)) {
    requireDescriptorSockets("a connection over a Duplex");
    return { text: "a Duplex", duplex: checkedDuplex(address) };
  }
  if (typeof address === "object" && address !== null && !isRevoked(address) && "fd" in address) {
    const { fd } = address;
    if (!isFileDescriptor(fd)) throw new TypeError(`the address { fd: ${shown(fd)} } is not a descriptor`);
    return { text: `fd:${fd}`, fd };
  }
  if (typeof address !== "string") {
    throw new TypeError(
      `${what} must be a string, { fd } or a Duplex, not ${address === null ? "null" : typeof address}`,
    );
  }
  if (address.includes("\0")) throw new TypeError(`the address ${JSON.stringify(address)} holds a NUL`);
  if (address.startsWith("unix://")) return unix(address, address.slice("unix://".length));
  if (address.startsWith("tcp://")) return tcp(address, address.slice("tcp://".length));
  if (address.startsWith("vsock://")) return vsock(address, address.slice("vsock://".length));
  if (address.startsWith("hvsock://")) return hybrid(address, address.slice("hvsock://".length));
  if (address.startsWith("/")) return unix(`unix://${address}`, address);
  throw unknown(address);
}

/** Checks that a Duplex carries bytes as they are. Throws a TypeError that begins with `what` if it does not. */
export function checkedDuplex(duplex: Duplex, what = "a Duplex"): Duplex {
  if (duplex.readableObjectMode || duplex.writableObjectMode) {
    throw new TypeError(`${what} must carry bytes, not objects: it is in object mode`);
  }
  if (duplex.readableEncoding !== null) {
    throw new TypeError(`${what} must carry bytes, not text: its encoding is ${duplex.readableEncoding}`);
  }
  return duplex;
}

function unknown(text: string): TypeError {
  const known =
    "unix:///path, unix://@name, tcp://ip:port, vsock://cid:port, hvsock:///path:port or an absolute path";
  return new TypeError(`the address ${JSON.stringify(text)} is not one of ${known}`);
}

function unix(text: string, name: string): ParsedAddress {
  const abstract = name.startsWith("@");
  if (name === "" || name === "@") throw new TypeError(`the address ${JSON.stringify(text)} names no socket`);
  // A relative path depends on the working directory, which a daemon changes.
  if (!abstract && !name.startsWith("/")) throw unknown(text);
  checkSize(text, name);
  return {
    text,
    binding: { kind: "unix", name: abstract ? `\0${name.slice(1)}` : name, cid: null, port: null },
  };
}

function checkSize(text: string, name: string): void {
  const size = Buffer.byteLength(name);
  if (size <= UNIX_LIMIT) return;
  throw new TypeError(
    `the address ${JSON.stringify(text)} is ${size} bytes long; a unix socket takes ${UNIX_LIMIT}`,
  );
}

/** The port follows the last colon, because a path may have colons too. */
function hybrid(text: string, name: string): ParsedAddress {
  const [, path = "", port = ""] = /^(\/.*):(\d+)$/s.exec(name) ?? [];
  if (path === "" || Number(port) > 0xffffffff) {
    throw new TypeError(`the address ${JSON.stringify(text)} is not hvsock:///path:port`);
  }
  checkSize(text, path);
  return { text, binding: { kind: "hvsock", name: path, cid: null, port: Number(port) } };
}

function tcp(text: string, name: string): ParsedAddress {
  const [, bracketed, plain, port = ""] = /^(?:\[(.*)\]|([^:]*)):(\d+)$/.exec(name) ?? [];
  const host = bracketed ?? plain ?? "";
  if (isIP(host) !== (bracketed === undefined ? 4 : 6) || Number(port) > 0xffff) {
    throw new TypeError(`the address ${JSON.stringify(text)} is not tcp://ip:port`);
  }
  return { text, binding: { kind: "tcp", name, cid: null, port: null } };
}

/** "Any context id", for a listener. */
const CID_ANY = 0xffffffff;

function vsock(text: string, name: string): ParsedAddress {
  const [, cid = "", port = ""] = /^(-1|\d+):(\d+)$/.exec(name) ?? [];
  if (cid === "" || Number(cid) > CID_ANY || Number(port) > 0xffffffff) {
    throw new TypeError(`the address ${JSON.stringify(text)} is not vsock://cid:port`);
  }
  return {
    text,
    binding: { kind: "vsock", name: null, cid: cid === "-1" ? CID_ANY : Number(cid), port: Number(port) },
  };
}
