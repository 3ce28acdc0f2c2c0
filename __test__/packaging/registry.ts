import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** The document that npm puts to publish a package, and gets to install it. */
interface Packument {
  readonly name: string;
  readonly versions: Record<string, unknown>;
  readonly _attachments?: Record<string, { readonly data: string }>;
}

/** An npm registry that accepts publications, and redirects clients to another registry for all other packages. */
export class Registry implements AsyncDisposable {
  /** With a slash at its end. */
  readonly url: string;
  /** The names of the published packages, in order. */
  readonly published: string[] = [];
  readonly #server: ReturnType<typeof createServer>;
  readonly #packuments = new Map<string, Packument>();
  readonly #tarballs = new Map<string, Buffer>();

  private constructor(server: ReturnType<typeof createServer>, upstream: string) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    server.on("request", (request, response) => {
      this.#serve(request, response, upstream).catch((error: unknown) => {
        response.writeHead(500).end(String(error));
      });
    });
  }

  /** @param upstream - The registry that has all other packages. */
  static async start(upstream: string): Promise<Registry> {
    const server = createServer();
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    return new Registry(server, upstream);
  }

  /** The options that make npm use this registry. */
  get options(): string[] {
    return [`--registry=${this.url}`, `--${this.url.slice("http:".length)}:_authToken=test`];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse, upstream: string): Promise<void> {
    const path = decodeURIComponent(request.url ?? "/").slice(1);
    if (request.method === "PUT") {
      this.#publish(JSON.parse(await bodyOf(request)) as Packument);
      response.writeHead(201, { "content-type": "application/json" }).end("{}");
      return;
    }
    const tarball = this.#tarballs.get(path);
    const packument = this.#packuments.get(path);
    if (tarball !== undefined) response.end(tarball);
    else if (packument !== undefined) {
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(packument));
    } else if (path.startsWith("containerd-shim-protos")) response.writeHead(404).end("{}");
    else response.writeHead(302, { location: new URL(request.url ?? "/", upstream).href }).end();
  }

  #publish({ _attachments: attachments = {}, ...packument }: Packument): void {
    this.published.push(packument.name);
    this.#packuments.set(packument.name, packument);
    // npm writes the tarball's address into what it publishes: this one.
    for (const [file, { data }] of Object.entries(attachments)) {
      this.#tarballs.set(`${packument.name}/-/${file}`, Buffer.from(data, "base64"));
    }
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}
