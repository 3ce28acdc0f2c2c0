import { ok, strictEqual } from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Client, connect, type Connection, TtrpcError } from "containerd-shim-protos";
import type { Task } from "containerd-shim-protos/task/v3";
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Containerd } from "./containerd.js";
import { processLike, taskClient } from "./direct.js";
import { describeWithEach, packaged, type Release } from "./releases.js";
import { EventsSeen, OWN, RUNC, type Shim, ShimUser } from "./shims.js";

const RUNS = Number(process.env["MODEL_RUNS"] ?? 12);
const SIGKILL = 9;
const RESOURCES = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

/** A call, about the container's first process or one of two execs. */
type Step = readonly [what: (typeof STEPS)[number], execId: "" | "a" | "b"];

const STEPS = [
  "create",
  "start",
  "exec",
  "state",
  "kill",
  "delete",
  "pause",
  "resume",
  "pids",
  "resizePty",
  "closeIO",
  "update",
  "stats",
  "connect",
  "wait",
] as const;

/** Sequences that mostly make sense, so that they reach all states. */
const sequences = fc.array(
  fc.tuple(
    fc.oneof(
      { weight: 3, arbitrary: fc.constantFrom("start", "exec", "kill", "state", "delete") },
      { weight: 2, arbitrary: fc.constantFrom(...STEPS) },
    ),
    fc.constantFrom("", "", "a", "a", "b"),
  ),
  { minLength: 3, maxLength: 14 },
) as fc.Arbitrary<Step[]>;

/** One shim, reached directly, by the container that keeps it running. */
class Subject {
  readonly #task: Client<typeof Task>;
  /** The execs that were started. */
  readonly #started = new Set<string>();

  private constructor(
    readonly shim: Shim,
    readonly containerd: Containerd,
    readonly connection: Connection,
    readonly events: EventsSeen,
    task: Client<typeof Task>,
  ) {
    this.#task = task;
  }

  static async start(shim: Shim, release: typeof packaged): Promise<Subject> {
    const containerd = await Containerd.start({ release });
    await new ShimUser(containerd, shim).runDetached("host", ["/bin/sleep", "100000"]);
    const events = await EventsSeen.of(containerd);
    const connection = await connect(containerd.shimAddress("host"));
    return new Subject(shim, containerd, connection, events, taskClient(connection, release));
  }

  async stop(): Promise<void> {
    this.events[Symbol.dispose]();
    await this.connection.close();
    await this.containerd.stop();
  }

  /** The outcomes of a sequence of calls about a new container, and the topics of its events. */
  async run(id: string, steps: readonly Step[]): Promise<{ outcomes: unknown[]; topics: string[] }> {
    const bundle = join(this.containerd.folder, id);
    mkdirSync(bundle);
    const host = readFileSync(join(this.containerd.bundle("host"), "config.json"), "utf8");
    const spec = JSON.parse(host) as { linux: { cgroupsPath: string } };
    spec.linux.cgroupsPath = `${spec.linux.cgroupsPath}-${id}`;
    writeFileSync(join(bundle, "config.json"), JSON.stringify(spec));
    this.#started.clear();
    const outcomes: unknown[] = [];
    for (const step of steps) {
      // containerd's own shim 2.4.2 ends with a panic later, when an exec that runs is started.
      if (step[0] === "start" && this.#started.has(step[1])) continue;
      outcomes.push([...step, await this.#outcome(id, bundle, step)]);
    }
    // What is left is taken away, in the same way for both.
    for (const step of [
      ["kill", ""],
      ["delete", "a"],
      ["delete", "b"],
      ["delete", ""],
    ] as const) {
      outcomes.push([...step, await this.#outcome(id, bundle, step)]);
    }
    // Each container that was created has been deleted, and its exit is published, before or after that.
    const { length } = outcomes.filter((outcome) =>
      /^\["create","[^"]*",\{"ok"/.test(JSON.stringify(outcome)),
    );
    const count = (topic: string) => this.events.topics(id).filter((one) => one === topic).length;
    await vi.waitFor(() => {
      // Not with expect, which belongs in tests.
      strictEqual(count("/tasks/delete"), length);
      ok(count("/tasks/exit") >= length);
    }, 10_000);
    await new Promise((resolve) => setTimeout(resolve, 100));
    return { outcomes, topics: this.events.topics(id).toSorted() };
  }

  async #outcome(id: string, bundle: string, [what, execId]: Step): Promise<unknown> {
    try {
      const answer = await this.#call(id, bundle, what, execId);
      return { ok: this.#plain(answer) };
    } catch (error) {
      if (!(error instanceof TtrpcError)) throw error;
      return { code: error.code, message: error.rawMessage.replaceAll(id, "ID") };
    }
  }

  async #call(id: string, bundle: string, what: Step[0], execId: string): Promise<object> {
    const task = this.#task;
    const name = { id, execId };
    const options = { metadata: { "containerd-namespace-ttrpc": this.containerd.ctr.namespace } };
    switch (what) {
      case "create":
        return task.create({ id, bundle }, options);
      case "exec": {
        const spec = await processLike(this.containerd, "host");
        return task.exec({ ...name, execId: execId || "c", spec }, options);
      }
      case "kill": {
        const answer = await task.kill({ ...name, signal: SIGKILL }, options);
        // The end comes later, and until then the state may be either.
        await task.wait(name, options);
        return answer;
      }
      case "wait": {
        // One that still runs would not answer.
        const { status } = await task.state(name, options);
        return status === 3 ? task.wait(name, options) : {};
      }
      case "resizePty":
        return task.resizePty({ ...name, width: 80, height: 25 }, options);
      case "closeIO":
        return task.closeIO({ ...name, stdin: true }, options);
      case "update": {
        const value = Buffer.from(JSON.stringify({ pids: { limit: 100 } }));
        return task.update({ id, resources: { typeUrl: RESOURCES, value } }, options);
      }
      case "start": {
        const answer = await task.start(name, options);
        if (execId !== "") this.#started.add(execId);
        return answer;
      }
      case "state":
      case "delete":
        return task[what](name, options);
      default:
        return task[what]({ id }, options);
    }
  }

  /** An answer without what is different each time. */
  #plain(answer: object): unknown {
    const text = JSON.stringify(answer, (key, value: unknown) => {
      if (key === "$typeName" || key === "bundle") return undefined;
      if (["pid", "taskPid", "shimPid"].includes(key)) return Number(value) > 0;
      if (key === "exitedAt") return Number((value as { seconds: bigint }).seconds) > 0;
      if (key === "stats") return (value as { typeUrl: string }).typeUrl;
      if (key === "value") return undefined;
      return typeof value === "bigint" ? String(value) : value;
    });
    return JSON.parse(text) as unknown;
  }
}

describeWithEach("shim-runc and containerd's own shim", (release) => {
  const subjects: Subject[] = [];
  let count = 0;

  beforeAll(async () => {
    for (const shim of [OWN, RUNC]) subjects.push(await Subject.start(shim, release));
  });

  afterAll(async () => {
    for (const subject of subjects) await subject.stop();
  });

  test("answer any sequence of calls alike, and publish the same events", async () => {
    await fc.assert(
      fc.asyncProperty(sequences, async (steps) => {
        const id = `model-${++count}`;
        const all = [["create", ""] as const, ...steps];
        const [own, ours] = await Promise.all(subjects.map((subject) => subject.run(id, all)));
        expect(withoutKnown(ours, release)).toEqual(withoutKnown(own, release));
      }),
      { numRuns: RUNS, endOnFailure: true },
    );
  }, 300_000);
});

/** A run without the differences that docs/shim-runc.md lists. */
function withoutKnown(run: Awaited<ReturnType<Subject["run"]>> | undefined, release: Release): unknown {
  let started = false;
  const outcomes = ((run?.outcomes ?? []) as [string, string, Record<string, object>][]).map(
    ([what, execId, outcome]) => {
      if (what === "start" && execId === "" && "ok" in outcome) started = true;
      // Of a container that was not started, the exit is published before it is deleted.
      if (what === "delete" && execId === "" && !started && "ok" in outcome) return [what, execId, "ok"];
      // containerd 1.6's asks runc, whose answer has no code; shim-runc answers as 2.x.
      if (what === "start" && execId !== "" && "message" in outcome && release === packaged)
        return [what, execId, "refused"];
      // containerd's own shim asks runc, which has no code for it.
      if (what === "create" && "message" in outcome) return [what, execId, "refused"];
      // containerd's own shim gives this error no code.
      if (what === "closeIO" && "message" in outcome) return [what, execId, outcome["message"]];
      return [what, execId, outcome];
    },
  );
  return { ...run, outcomes };
}
