import { clearTimeout, setImmediate, setTimeout } from "node:timers";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { Code } from "./code.js";
import { callError, textOf, TtrpcError } from "./error.js";
import { loadNative } from "./native/addon.js";
import { socketOf } from "./native/socket.js";

/** How long a Duplex may take to pass on what was written to it before the engine closed its end. */
const DRAIN_MS = 5000;

/** Two connected sockets of the addon's: the engine's, and the one that is to be Node's. */
interface SocketPair {
  readonly ours: number;
  readonly theirs: number;
}

/** The errors of Duplexes that connections run over. */
const failures = new WeakMap<Duplex, Error>();

const owned = new WeakSet<Duplex>();

/**
 * Notes that a Duplex is the package's from now on: two connections over one would take each other's bytes. Throws a
 * TtrpcError that begins with `what` if it is already.
 */
export function own(duplex: Duplex, what: string): void {
  if (owned.has(duplex))
    throw new TtrpcError(`${what}: this package uses it already`, Code.FailedPrecondition);
  owned.add(duplex);
}

/**
 * Moves bytes between a Duplex and one end of a socket pair, whose other end belongs to the engine. What either side gave
 * before it ended in order still reaches the other.
 *
 * Resolves when the Duplex has taken all bytes, or takes no more. Throws, with both ends closed, if it cannot be joined.
 */
export function join(duplex: Duplex, { ours, theirs }: SocketPair): Promise<void> {
  const socket = socketOfPair(duplex, ours, theirs);
  // Only the engine's end decides what keeps the process alive.
  socket.unref();
  const fail = (error?: Error | null) => {
    if (error && !failures.has(duplex)) failures.set(duplex, error);
    socket.destroy();
    duplex.destroy();
  };
  // A Duplex that failed earlier emits no further error.
  if (duplex.destroyed) fail(duplex.errored);
  // Some emit more than one.
  duplex.on("error", fail);
  duplex.once("close", () => {
    if (!duplex.readableEnded) return fail();
    // Nobody reads what the engine sends from now on.
    socket.unpipe(duplex).resume();
    socket.destroySoon();
  });
  // If neither the engine nor the peer has ended, somebody else has, and pipe() would drop all that is still to be written.
  // A peer may end both sides at once, so what it has sent is passed on first: its end comes behind that.
  const judge = () => {
    if (socket.readableEnded || socket.destroyed || duplex.readableEnded) return;
    if (duplex.readableLength > 0) socket.once("drain", judgeSoon);
    else fail(new Error("its writing side ended"));
  };
  const judgeSoon = () => setImmediate(judge);
  duplex.once("finish", judgeSoon);
  // An error here means that the engine closed its end, which the engine knows.
  socket.on("error", () => undefined);
  duplex.pipe(socket).pipe(duplex);
  return new Promise((resolve) => {
    socket.once("close", () => {
      const done = () => {
        clearTimeout(timer);
        duplex.destroy();
        resolve();
      };
      const timer = setTimeout(done, DRAIN_MS).unref();
      // A Duplex that is destroyed never finishes, and end() does not say so.
      if (duplex.destroyed) return done();
      duplex.unpipe(socket).resume();
      duplex.end(done);
    });
  });
}

function socketOfPair(duplex: Duplex, ours: number, theirs: number): Socket {
  const what = "a connection over a Duplex cannot be made";
  try {
    own(duplex, what);
  } catch (error) {
    for (const fd of [ours, theirs]) loadNative().closeDescriptor(fd);
    throw error;
  }
  try {
    return socketOf(theirs, { readable: true, writable: true });
  } catch (cause) {
    loadNative().closeDescriptor(ours);
    throw new TtrpcError(`${what}: ${textOf(cause)}`, Code.FailedPrecondition, { cause });
  }
}

/** Why a connection over a Duplex ended, if the Duplex failed. */
export function duplexFailure(duplex: Duplex | undefined): TtrpcError | undefined {
  const cause = duplex && failures.get(duplex);
  return cause && callError(`the stream failed: ${textOf(cause)}`, Code.Unavailable, { cause });
}
