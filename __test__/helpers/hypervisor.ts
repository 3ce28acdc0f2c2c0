import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  connect as connectSocket,
  createServer as createNetServer,
  type Server as NetServer,
  type Socket,
} from "node:net";
import { pathOf, temporaryPath } from "./temp.js";

const PROGRAM = `
  const net = require("node:net");
  const [path, guest] = process.argv.slice(1);
  net.createServer((socket) => {
    socket.once("readable", () => {
      let line = "";
      while (!line.endsWith("\\n")) line += socket.read(1).toString("latin1");
      const there = net.connect(guest);
      socket.write("OK 1\\n");
      socket.pipe(there).pipe(socket);
    });
  }).listen(path, () => console.log("ready"));
`;

/** A hypervisor's socket in a process of its own, which connects every port to one guest. */
export class HypervisorProcess implements AsyncDisposable {
  readonly path = temporaryPath();
  readonly #child: ChildProcess;

  private constructor(guest: string) {
    this.#child = spawn(process.execPath, ["-e", PROGRAM, this.path, guest], {
      stdio: ["ignore", "pipe", "inherit"],
    });
  }

  /** Starts one. `guest` is the path of a unix socket. */
  static async start(guest: string): Promise<HypervisorProcess> {
    const hypervisor = new HypervisorProcess(guest);
    await once(hypervisor.#child.stdout!, "data");
    return hypervisor;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
  }
}

/** A hypervisor's socket: reads the line that names a port, and does with it what a test says. */
export class Hypervisor implements AsyncDisposable {
  readonly path = temporaryPath();
  readonly asked: string[] = [];
  readonly #server: NetServer;
  readonly #sockets = new Set<Socket>();

  constructor(open: (socket: Socket, line: string) => void) {
    this.#server = createNetServer((socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => undefined);
      let line = "";
      const read = () => {
        // One byte at a time, because what follows the line is the guest's.
        for (
          let byte = socket.read(1) as Buffer | null;
          byte !== null;
          byte = socket.read(1) as Buffer | null
        ) {
          line += byte.toString("latin1");
          if (line.endsWith("\n")) {
            socket.off("readable", read);
            this.asked.push(line);
            open(socket, line);
            return;
          }
        }
      };
      socket.on("readable", read);
    });
  }

  async listen(): Promise<this> {
    this.#server.listen(this.path);
    await once(this.#server, "listening");
    return this;
  }

  address(port: number): string {
    return `hvsock://${this.path}:${port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}

/** Answers, byte by byte if asked, and connects the guest. */
export function opener(guest: string, answer = "OK 1073741824\n", slowly = false) {
  return async (socket: Socket) => {
    for (const part of slowly ? answer : [answer]) {
      socket.write(part);
      if (slowly) await new Promise((resolve) => setImmediate(resolve));
    }
    const there = connectSocket(pathOf(guest));
    there.on("error", () => socket.destroy());
    there.on("close", () => socket.destroy());
    socket.on("close", () => there.destroy());
    socket.pipe(there).pipe(socket);
  };
}
