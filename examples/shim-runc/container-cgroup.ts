import type { Any } from "@bufbuild/protobuf/wkt";
import { Cgroup, type OomWatch } from "containerd-shim-protos/shim/cgroup";
import { attempt } from "./attempt.js";
import { notFound } from "./errors.js";

/** The cgroup of a container, which runs all the same if the cgroup cannot be found or watched. */
export class ContainerCgroup {
  readonly #onOom: () => void;
  readonly #report: (what: string, error: unknown) => void;
  #cgroup: Cgroup | undefined;
  #watch: OomWatch | undefined;

  constructor(onOom: () => void, report: (what: string, error: unknown) => void) {
    this.#onOom = onOom;
    this.#report = report;
  }

  /** Finds the cgroup of the first process, and watches it for OOM kills. */
  async find(pid: number): Promise<void> {
    const tried = (what: string, step: () => void) => attempt(step, (error) => this.#report(what, error));
    await tried("find its cgroup", () => {
      this.#cgroup = Cgroup.of(pid);
    });
    await tried("watch for OOM kills", () => {
      this.#watch = this.#cgroup?.watchOom(this.#onOom);
    });
    await tried("enable the controllers of its cgroup", () => this.#cgroup?.enableControllers());
  }

  /** Tells of OOM kills that have not been told of. */
  look(): void {
    this.#watch?.look();
  }

  /** Stops watching. */
  close(): void {
    this.#watch?.close();
  }

  /** What it uses, for the answer of Stats. */
  stats(): Any {
    try {
      if (this.#cgroup !== undefined) return this.#cgroup.stats();
    } catch (error) {
      // Somebody else has removed it.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
    throw notFound("cgroup does not exist");
  }
}
