import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import type { ImageStore } from "./store.js";

/** A registry that one can only pull from, on loopback. It does not look at which registry it is asked in place of. */
export class Registry {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async serve(store: ImageStore): Promise<Registry> {
    const server = createServer((request, response) => {
      const { pathname } = new URL(request.url ?? "/", "http://registry");
      answer(store, pathname, response, request.method === "HEAD");
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new Registry(server);
  }

  /** Such as http://127.0.0.1:1234. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

/** As the distribution specification has it: https://github.com/opencontainers/distribution-spec */
function answer(store: ImageStore, path: string, response: ServerResponse, head: boolean): void {
  if (path === "/v2/") {
    response.end();
    return;
  }
  const [, name = "", kind, reference = ""] = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(path) ?? [];
  const digest = reference.startsWith("sha256:") ? reference : store.tags.get(`${name}:${reference}`);
  const blob = digest === undefined ? undefined : store.blobs.get(digest);
  if (blob === undefined) {
    response.writeHead(404, { "Content-Type": "application/json" });
    const code = kind === "manifests" ? "MANIFEST_UNKNOWN" : "BLOB_UNKNOWN";
    response.end(JSON.stringify({ errors: [{ code, message: `there is no ${path}` }] }));
    return;
  }
  response.writeHead(200, {
    "Content-Type": blob.mediaType,
    "Content-Length": blob.bytes.length,
    "Docker-Content-Digest": digest,
  });
  response.end(head ? undefined : blob.bytes);
}
