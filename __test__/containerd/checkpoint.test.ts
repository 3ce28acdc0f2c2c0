import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Client, connect, type Connection, packAny, type TtrpcError } from "containerd-shim-protos";
import { CheckpointOptionsSchema, OptionsSchema } from "containerd-shim-protos/runc";
import type { Task } from "containerd-shim-protos/task/v3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Containerd } from "./containerd.js";
import { showLogOfFailures, taskClient } from "./direct.js";
import { describeWithEach } from "./releases.js";
import { findTool } from "./requirements.js";
import { OWN, RUNC, type Shim, ShimUser } from "./shims.js";

const SHIMS = [OWN, RUNC];
const SIGKILL = 9;

/** What both shims ask of runc, which asks criu, and what they answer. A wrapper notes what runc is called with. */
describeWithEach("checkpoints", (release) => {
  let containerd: Containerd;
  const tasks = new Map<Shim, Client<typeof Task>>();
  const connections: Connection[] = [];
  let count = 0;

  beforeAll(async () => {
    containerd = await Containerd.start({ release });
    for (const [index, shim] of SHIMS.entries()) {
      await new ShimUser(containerd, shim).runDetached(`host-${index}`, ["/bin/sleep", "100000"]);
      const connection = await connect(containerd.shimAddress(`host-${index}`));
      connections.push(connection);
      tasks.set(shim, taskClient(connection, release));
    }
  });

  afterAll(async () => {
    for (const connection of connections) await connection.close();
    await containerd?.stop();
  });

  showLogOfFailures(() => containerd);

  /** A container of a shim, whose runc notes its arguments before it does its work, or instead. */
  function prepare(shim: Shim, otherwise = 'exec runc "$@"') {
    const id = `box-${++count}`;
    const bundle = join(containerd.folder, `bundle-${id}`);
    const wrapper = join(containerd.folder, `runc-${id}`);
    mkdirSync(join(bundle, "work"), { recursive: true });
    const spec = JSON.parse(readFileSync(join(containerd.bundle("host-0"), "config.json"), "utf8")) as {
      linux: { cgroupsPath: string };
    };
    spec.linux.cgroupsPath = `${spec.linux.cgroupsPath}-${id}`;
    writeFileSync(join(bundle, "config.json"), JSON.stringify(spec));
    const lines = ["#!/bin/sh", `printf '%s\\n' "$*" >>${wrapper}.log`, otherwise];
    writeFileSync(wrapper, `${lines.join("\n")}\n`);
    chmodSync(wrapper, 0o755);
    const task = tasks.get(shim)!;
    /** The arguments of a command, without what is in any, and without the names of this container. */
    const calledWith = (command: string): string[] => {
      const calls = readFileSync(`${wrapper}.log`, "utf8").trim().split("\n");
      const call = calls.map((line) => line.split(" ")).find((words) => words.includes(command)) ?? [];
      const named = call.slice(call.indexOf(command) + 1).map((word) => word.replaceAll(bundle, "BUNDLE"));
      return pairs(named.map((word) => (word === id ? "ID" : word)));
    };
    const options = { binaryName: wrapper, root: join(containerd.folder, "runc") };
    const clear = async ({ runs = true } = {}) => {
      // A Wait for what was not restored is answered by neither shim.
      if (runs) await Promise.all([task.wait({ id }), task.kill({ id, signal: SIGKILL })]);
      await task.delete({ id });
      rmSync(bundle, { recursive: true });
    };
    return { id, bundle, wrapper, task, calledWith, options, clear };
  }

  const pack = (options: object) => packAny(OptionsSchema, options);
  const messageOf = (call: Promise<unknown>) =>
    call.then(
      () => "it was answered",
      ({ rawMessage }: TtrpcError) => rawMessage,
    );

  describe.skipIf(findTool("criu") === undefined)("by runc and criu", () => {
    test.each([
      ["without options", {}],
      ["with a folder for criu's work", { workPath: "WORK" }],
      [
        "with all options",
        {
          exit: true,
          openTcp: true,
          externalUnixSockets: true,
          terminal: true,
          fileLocks: true,
          emptyNamespaces: ["network", "ipc"],
        },
      ],
    ])("are asked for with the same arguments, %s", async (_, given) => {
      const asked: unknown[] = [];
      for (const shim of SHIMS) {
        const one = prepare(shim, 'case "$*" in *checkpoint*) exit 0;; esac; exec runc "$@"');
        const { id, bundle, task, options } = one;
        await task.create({ id, bundle, options: pack(options) });
        await task.start({ id });
        const workPath = "workPath" in given ? join(bundle, "kept") : "";
        const path = join(bundle, "image");
        await task.checkpoint({
          id,
          path,
          options: packAny(CheckpointOptionsSchema, { ...given, workPath }),
        });
        asked.push({ ...one.calledWith("checkpoint"), kept: existsSync(join(bundle, "work", "criu-work")) });
        await one.clear();
      }
      expect(asked[1]).toEqual(asked[0]);
      expect(asked[0]).not.toEqual({ kept: false });
    });

    test("that fail say why and where criu's log is, and the container continues", async () => {
      const said: string[] = [];
      for (const shim of SHIMS) {
        const one = prepare(
          shim,
          // As runc when criu cannot dump: its log is in the folder that is named.
          `case "$*" in *checkpoint*) while [ "$1" != --work-path ]; do shift; done; mkdir -p $2
          echo 'Error (criu/x.c:1): cannot' >$2/dump.log; printf 'criu failed: type NOTIFY errno 0\\nlog file: %s\\n' $2/dump.log >&2
          exit 1;; esac; exec runc "$@"`,
        );
        const { id, bundle, task, options, wrapper } = one;
        await task.create({ id, bundle, options: pack(options) });
        await task.start({ id });
        const path = join(bundle, "image");
        const message = await messageOf(
          task.checkpoint({ id, path, options: packAny(CheckpointOptionsSchema, {}) }),
        );
        said.push(message.replaceAll(bundle, "BUNDLE").replaceAll(wrapper, "RUNC"));
        expect(readFileSync(join(bundle, "criu-dump.log"), "utf8")).toBe("Error (criu/x.c:1): cannot\n");
        expect((await task.state({ id })).status).toBe(2);
        await one.clear();
      }
      expect(said).toEqual([
        "RUNC did not terminate successfully: exit status 1: criu failed: type NOTIFY errno 0 path= BUNDLE/criu-dump.log",
        "OCI runtime checkpoint failed: criu failed: type NOTIFY errno 0 path= BUNDLE/criu-dump.log",
      ]);
    });

    test("of a container that runs are written, or fail with what criu says", async () => {
      const outcomes: string[] = [];
      for (const shim of SHIMS) {
        const one = prepare(shim);
        const { id, bundle, task, options } = one;
        await task.create({ id, bundle, options: pack(options) });
        await task.start({ id });
        const path = join(containerd.folder, `image-${id}`);
        mkdirSync(path);
        const call = task.checkpoint({ id, path, options: packAny(CheckpointOptionsSchema, {}) });
        const message = await messageOf(call);
        outcomes.push(message.replaceAll(bundle, "BUNDLE").replace(/^.*?: (?=criu failed)/, ""));
        await one.clear();
      }
      expect(outcomes[1]).toBe(outcomes[0]);
      expect(outcomes[0]).toMatch(/^it was answered$|^criu failed: .* path= BUNDLE\/criu-dump\.log$/);
    });
  });

  test.each([
    ["without CriuWorkPath", {}],
    ["with CriuWorkPath", { criuWorkPath: "WORK" }],
    ["with NoPivotRoot and NoNewKeyring", { noPivotRoot: true, noNewKeyring: true }],
    // containerd makes the request's checkpoint of it.
    ["with CriuImagePath", { criuImagePath: "/no/image" }],
  ])("are restored with the same arguments and the same failure, %s", async (_, given) => {
    const asked: unknown[] = [];
    for (const shim of SHIMS) {
      const one = prepare(shim);
      const { id, bundle, task, options } = one;
      const work = "criuWorkPath" in given ? { criuWorkPath: join(bundle, "criu") } : {};
      await task.create({
        id,
        bundle,
        checkpoint: join(bundle, "image"),
        options: pack({ ...options, ...given, ...work }),
      });
      const message = await messageOf(task.start({ id }));
      asked.push({ args: one.calledWith("restore"), message: message.replaceAll(bundle, "BUNDLE") });
      await one.clear({ runs: false });
    }
    expect(asked[1]).toEqual(asked[0]);
    expect(asked[0]).toMatchObject({ message: expect.stringMatching(/^OCI runtime restore failed: ./) });
  });

  test("are not restored for CriuImagePath alone: that is for containerd", async () => {
    for (const shim of SHIMS) {
      const one = prepare(shim);
      const { id, bundle, task, options } = one;
      await task.create({ id, bundle, options: pack({ ...options, criuImagePath: "/no/image" }) });
      await task.start({ id });
      expect(one.calledWith("restore")).toEqual([]);
      await one.clear();
    }
  });
});

/** Flags with their values, in no order. */
function pairs(words: readonly string[]): string[] {
  const found: string[] = [];
  for (const word of words) {
    if (word.startsWith("-") || found.length === 0) found.push(word);
    else found[found.length - 1] += ` ${word}`;
  }
  // containerd's own shim writes one with a single dash, which means the same.
  return found.map((flag) => flag.replace(/ ID$/, "").replace(/^-(?=[a-z])/, "--")).toSorted();
}
