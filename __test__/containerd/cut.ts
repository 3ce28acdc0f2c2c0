import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

/** A way to nats-server that loses bytes when it is told to. */
export class Cut {
  /** Loses what clients send. */
  losesRequests = false;
  /** Loses what the server answers. */
  losesAnswers = false;
  /** Messages that were lost since {@link losesRequests} was set. */
  lost = 0;
  readonly url: string;
  readonly #server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: ReturnType<typeof createServer>) {
    this.#server = server;
    this.url = `nats://127.0.0.1:${(server.address() as { port: number }).port}`;
  }

  static async before(url: string): Promise<Cut> {
    const server = createServer();
    await once(server.listen(0, "127.0.0.1"), "listening");
    const cut = new Cut(server);
    const { hostname, port } = new URL(url);
    server.on("connection", (client) => cut.#join(client, connect(Number(port), hostname)));
    return cut;
  }

  #join(client: Socket, server: Socket): void {
    // The start of a message may be in one piece, and its end in the next.
    let rest = "";
    client.on("data", (bytes) => {
      if (!this.losesRequests) return void server.write(bytes);
      rest += bytes.toString("latin1");
      const parts = rest.split("PUB containerd.");
      this.lost += parts.length - 1;
      rest = (parts.at(-1) ?? "").slice(-"PUB containerd.".length);
    });
    server.on("data", (bytes) => {
      if (!this.losesAnswers) client.write(bytes);
    });
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(one);
      one
        .on("error", () => undefined)
        .on("close", () => {
          this.#sockets.delete(one);
          other.destroy();
        });
    }
  }

  /** Ends all connections, and loses nothing of those that follow. */
  heal(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.losesRequests = false;
    this.losesAnswers = false;
    this.lost = 0;
  }

  close(): void {
    this.heal();
    this.#server.close();
  }
}
