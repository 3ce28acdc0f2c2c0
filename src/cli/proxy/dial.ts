import { connect, type NetConnectOpts, type Socket } from "node:net";
import { constants } from "node:os";
import type { ParsedAddress } from "../../address.js";
import { CONNECT_TIMEOUT_MS, openError } from "../../client/connector.js";
import { TtrpcError } from "../../error.js";

/** Opens a socket to the target. Its failure is the socket's error; `ready` is called when its bytes are the target's. */
export type Dial = (ready: () => void) => Socket;

/** An address in the form that Node's sockets take; undefined if they do not take it. */
export function socketOf({ binding }: ParsedAddress): NetConnectOpts | undefined {
  const name = binding?.name ?? null;
  if (binding?.kind === "unix" && name !== null) return { path: name };
  const [, host = "", port] = /^\[?([^\]]*)\]?:(\d+)$/.exec((binding?.kind === "tcp" && name) || "") ?? [];
  return port === undefined ? undefined : { host, port: Number(port) };
}

/** How to connect to an address; undefined if Node's sockets do not take it. */
export function dialOf(target: ParsedAddress): Dial | undefined {
  const { binding } = target;
  const hybrid = binding?.kind === "hvsock" && binding.name !== null;
  const at = hybrid ? { path: binding.name! } : socketOf(target);
  if (at === undefined) return undefined;
  return (ready) => {
    const socket = connect({ ...at, allowHalfOpen: true });
    const late = () => socket.destroy(openError(target, { errno: constants.errno.ETIMEDOUT, text: null }));
    const timer = setTimeout(late, CONNECT_TIMEOUT_MS);
    socket.once("close", () => clearTimeout(timer));
    const connected = () => {
      clearTimeout(timer);
      ready();
    };
    socket.once("connect", () => {
      if (hybrid) greet(socket, target, binding.port!, connected);
      else connected();
    });
    return socket;
  };
}

/** The most bytes that a hypervisor may answer with. */
const ANSWER_LIMIT = 64;

/** Asks a hypervisor for a port of its guest. All bytes behind the line that answers are the guest's. */
function greet(socket: Socket, target: ParsedAddress, port: number, opened: () => void): void {
  let answer = "";
  const stop = () => {
    socket.off("readable", read);
    socket.off("end", refused);
  };
  const refused = () => {
    stop();
    const said = answer === "" ? "hung up" : `answered ${JSON.stringify(answer).slice(1, -1)}`;
    const text = `the hypervisor does not open port ${port}: it ${said}`;
    socket.destroy(openError(target, { errno: constants.errno.ECONNREFUSED, text }));
  };
  const read = () => {
    for (;;) {
      const byte = socket.read(1) as Buffer | null;
      if (byte === null) return;
      answer += byte.toString("latin1");
      const ended = answer.endsWith("\n");
      if (ended && /^OK[ \n]/.test(answer)) {
        stop();
        return opened();
      }
      if (ended || answer.length === ANSWER_LIMIT) return refused();
    }
  };
  socket.on("readable", read).once("end", refused);
  socket.write(`CONNECT ${port}\n`);
}

/** Fails at once if the target does not accept connections. */
export async function probe(dial: Dial, target: ParsedAddress): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const socket = dial(() => {
      socket.destroy();
      resolve();
    });
    socket.once("error", (error: NodeJS.ErrnoException) => {
      if (error instanceof TtrpcError) return reject(error);
      // Where the permission model denies it, Node gives no number.
      const errno = typeof error.errno === "number" ? -error.errno : 0;
      reject(openError(target, { errno, text: error.message }));
    });
  });
}
