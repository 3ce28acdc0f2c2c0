import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { packAny } from "containerd-shim-protos";
import { OptionsSchema } from "containerd-shim-protos/runc";
import { createTestShim, type TestShim } from "containerd-shim-protos/shim/testing";
import { createRuncService } from "../../examples/shim-runc/service.js";
import { temporaryFolder } from "../helpers/program.js";

/**
 * shim-runc with a runc that is a script. Its create, exec and restore start `sleep`; its delete and kill end that of the
 * container; and it does nothing else but note what it was called with.
 */
export class FakeRunc implements AsyncDisposable {
  readonly shim: TestShim;
  readonly folder: string;
  readonly task: TestShim["task"];
  readonly id = "box";

  private constructor(shim: TestShim, folder: string) {
    this.shim = shim;
    this.task = shim.task;
    this.folder = folder;
  }

  /** @param instead - Lines of the script that come before what it does otherwise. */
  static async start(...instead: readonly string[]): Promise<FakeRunc> {
    const folder = temporaryFolder();
    mkdirSync(join(folder, "bundle"));
    writeFileSync(
      join(folder, "bundle", "config.json"),
      JSON.stringify({ linux: { namespaces: [{ type: "pid" }] } }),
    );
    const script = `#!/bin/sh
F=${folder}; A="$*"; printf '%s\\n' "$A" >>$F/calls
while [ $# -gt 0 ]; do case "$1" in --pid-file) P=$2;; create|start|exec|restore|delete|kill|pause|resume|update|checkpoint) C=$1;; esac; shift; done
${instead.join("\n")}
case $C in
  create|restore|exec) setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >$P; echo $! >>$F/pids; [ $C = exec ] || cp $P $F/init;;
  delete|kill) [ ! -f $F/init ] || kill -9 $(cat $F/init) 2>/dev/null || true;;
esac
`;
    writeFileSync(join(folder, "runc"), script, { mode: 0o755 });
    return new FakeRunc(await createTestShim(createRuncService), folder);
  }

  get bundle(): string {
    return join(this.folder, "bundle");
  }

  /** What asks for the container. */
  request(options: object = {}) {
    const binaryName = join(this.folder, "runc");
    const packed = packAny(OptionsSchema, { binaryName, root: this.folder, ...options });
    return { id: this.id, bundle: this.bundle, rootfs: [], checkpoint: "", terminal: false, options: packed };
  }

  /** Creates the container. */
  create(request: object = {}, options: object = {}): Promise<{ pid: number }> {
    return this.task.create({ ...this.request(options), ...request });
  }

  /** Adds an exec. */
  exec(execId: string, streams: object = {}) {
    const typeUrl = "types.containerd.io/opencontainers/runtime-spec/1/Process";
    const value = Buffer.from(JSON.stringify({ args: ["true"], cwd: "/" }));
    return this.task.exec({ ...streams, id: this.id, execId, spec: { typeUrl, value } });
  }

  /** What it was called with, each call as its words. */
  calls(command: string): string[][] {
    const calls = this.#lines("calls").map((line) => line.split(" "));
    return calls.filter((words) => words.includes(command));
  }

  /** The processes that it has started and that have not ended. */
  running(): number[] {
    return this.#lines("pids").map(Number).filter(isThere);
  }

  #lines(name: string): string[] {
    const file = join(this.folder, name);
    return existsSync(file) ? readFileSync(file, "utf8").split("\n").filter(Boolean) : [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const pid of this.running()) process.kill(pid, "SIGKILL");
    await this.shim.close();
    rmSync(this.folder, { recursive: true });
  }
}

function isThere(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
}
