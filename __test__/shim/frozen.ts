import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync } from "node:fs";
import { join } from "node:path";
import { temporaryPath } from "../helpers/temp.js";

/** What the machine lacks for {@link FrozenDisk}, in words that fit after "needs". */
export function missingForDisks(): string[] {
  const missing = ["mkfs.ext4", "fsfreeze", "losetup"].filter(
    (name) => spawnSync(name, ["--version"], { env: SBIN }).error !== undefined,
  );
  if (process.geteuid?.() !== 0) missing.push("root");
  else if (spawnSync("losetup", ["-f"], { env: SBIN }).status !== 0) missing.push("loop devices");
  return missing;
}

const SBIN = { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` };

/** A disk that can stop answering: an ext4 filesystem in a file. While it is frozen, every write to it waits. */
export class FrozenDisk implements Disposable {
  readonly folder = temporaryPath();
  readonly #image = temporaryPath();
  #frozen = false;

  constructor() {
    const image = openSync(this.#image, "w");
    ftruncateSync(image, 16 << 20);
    closeSync(image);
    mkdirSync(this.folder);
    run("mkfs.ext4", "-q", "-F", this.#image);
    run("mount", "-o", "loop", this.#image, this.folder);
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  freeze(): void {
    run("fsfreeze", "--freeze", this.folder);
    this.#frozen = true;
  }

  thaw(): void {
    if (this.#frozen) run("fsfreeze", "--unfreeze", this.folder);
    this.#frozen = false;
  }

  [Symbol.dispose](): void {
    this.thaw();
    // A thread that was stuck may close its file a moment later.
    for (
      let tries = 50;
      spawnSync("umount", [this.folder], { env: SBIN }).status !== 0 && tries > 0;
      tries--
    ) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
    }
    rmSync(this.folder, { recursive: true });
    rmSync(this.#image);
  }
}

function run(command: string, ...args: string[]): void {
  execFileSync(command, args, { env: SBIN, stdio: ["ignore", "ignore", "pipe"] });
}
