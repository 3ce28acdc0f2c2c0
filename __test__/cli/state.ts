import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { temporaryPath } from "../helpers/temp.js";

/** A state folder and a socket folder as containerd and its shims leave them. */
export class State {
  readonly state = temporaryPath();
  readonly sockets = temporaryPath();

  constructor() {
    mkdirSync(this.state);
    mkdirSync(this.sockets);
  }

  /** An address in the socket folder. */
  socket(name: string): string {
    return `unix://${path.join(this.sockets, name)}`;
  }

  /** Makes the bundle of a task with these files. */
  bundle(namespace: string, id: string, files: Readonly<Record<string, string>>): void {
    this.#bundle("io.containerd.runtime.v2.task", namespace, id, files);
  }

  /** The same of a sandbox whose shim containerd's sandbox controller runs. */
  sandbox(namespace: string, id: string, files: Readonly<Record<string, string>>): void {
    this.#bundle("io.containerd.sandbox.controller.v1.shim", namespace, id, files);
  }

  #bundle(folder: string, namespace: string, id: string, files: Readonly<Record<string, string>>): void {
    const bundle = path.join(this.state, folder, namespace, id);
    mkdirSync(bundle, { recursive: true });
    for (const [name, text] of Object.entries(files)) writeFileSync(path.join(bundle, name), text);
  }

  /** The options that name both folders. */
  get options(): string[] {
    return ["--state", this.state, "--sockets", this.sockets];
  }
}

/** What containerd 2 writes into a bundle. */
export function bootstrap(address: string, version = 3, protocol = "ttrpc"): Record<string, string> {
  return { "bootstrap.json": JSON.stringify({ version, address, protocol }) };
}
