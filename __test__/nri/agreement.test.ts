import { spawnSync } from "node:child_process";
import { create, type DescMessage, type MessageShape, toBinary, toJson } from "@bufbuild/protobuf";
import {
  type Container,
  ContainerSchema,
  CreateContainerResponseSchema,
  type CreateResult,
  createTestRuntime,
  LinuxContainerSchema,
  type Hook,
  type LinuxResources,
  LinuxResourcesSchema,
  type UpdateResult,
  UpdateContainerResponseSchema,
  ValidateContainerAdjustmentRequestSchema,
  type ValidationEvent,
} from "containerd-shim-protos/nri";
import { expect, it } from "vitest";
import { describeWithGo } from "../helpers/go-peer.js";
import { nriPeer, withNriPeer } from "./peer.js";
import { RandomChanges } from "./random-changes.js";

const PLUGINS = [0, 1, 2];
const BUSY = { timeout: 120_000 };

/** What NRI's own code makes of the replies of three plugins. */
interface Answer {
  readonly error: string;
  readonly seen: readonly unknown[];
  readonly validated?: object;
  readonly updates:
    | readonly { readonly containerId: string; readonly linux?: { readonly resources?: object } }[]
    | null;
  readonly spec?: any;
}

/** Asks NRI's own code, about all at once. */
function ask(questions: readonly object[]): Answer[] {
  const input = questions.map((question) => `${JSON.stringify(question)}\n`).join("");
  const { status, stdout, stderr } = spawnSync(nriPeer.path, ["merge"], {
    input,
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  expect(status, stderr).toBe(0);
  const answers = stdout.trim().split("\n");
  return answers.map((line) => JSON.parse(line) as Answer);
}

function base64<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): string {
  return Buffer.from(toBinary(schema, message)).toString("base64");
}

const OPTIONAL = new Set(["hooks", "linux", "resources", "memory", "cpu", "rdt"]);

const isRemoval = ({ destination }: any): boolean => destination.startsWith("-");
const inOrder = (list: any[]): string[] => list.map((each) => JSON.stringify(each)).toSorted();

/**
 * As JSON with sorted names. A part that says nothing may be there or not, and namespaces and removals of mounts are in any
 * order.
 */
function plain(value: any, name = ""): any {
  if (Array.isArray(value)) {
    const list = value.map((each) => plain(each));
    if (name === "mounts")
      return [...list.filter((each) => !isRemoval(each)), ...inOrder(list.filter(isRemoval))];
    return name === "namespaces" ? inOrder(list) : list;
  }
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, each]): [string, any] => [key, plain(each, key)]);
  return Object.fromEntries(
    entries
      .filter(([key, each]) => !OPTIONAL.has(key) || Object.keys(each as object).length > 0)
      .toSorted(([one], [other]) => (one < other ? -1 : 1)),
  );
}

const json = <Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>) =>
  plain(toJson(schema, message));

/** A test runtime with three plugins, which reply what they are told. */
async function threePlugins() {
  const runtime = await createTestRuntime({ requestTimeoutMs: 60_000 });
  const told: { creations: CreateResult[]; updates: UpdateResult[] } = { creations: [], updates: [] };
  const seen: unknown[] = [];
  const validated: ValidationEvent[] = [];
  for (const each of PLUGINS) {
    await runtime.start("p", `${each + 1}0`, {
      createContainer({ container }) {
        seen.push(json(ContainerSchema, container));
        return told.creations[each];
      },
      updateContainer({ resources }) {
        seen.push(json(LinuxResourcesSchema, resources as LinuxResources));
        return told.updates[each];
      },
      ...(each === 2 ? { validateContainerAdjustment: (event) => void validated.push(event) } : {}),
    });
  }
  return { runtime, told, seen, validated, pod: await runtime.runPod() };
}

/** The parts of a container that adjustments change, as in its specification. */
function specOf({ args, env, annotations, mounts, rlimits, hooks, linux }: Container): object {
  const number = (wrapped: { value: bigint } | undefined) => wrapped && Number(wrapped.value);
  const { memory, cpu } = linux?.resources ?? {};
  return {
    args,
    env,
    annotations,
    mounts: mounts.map(({ destination, source }) => ({ destination, source })),
    rlimits: rlimits.map(({ type, soft }) => ({ type, soft: Number(soft) })),
    hooks: Object.values(hooks ?? {})
      .flatMap((list) => (Array.isArray(list) ? (list as Hook[]).map(({ path }) => path) : []))
      .toSorted(),
    devices: linux?.devices.map(({ path, type, minor }) => ({ path, type, minor: Number(minor) })),
    namespaces: linux?.namespaces.map(({ type, path }) => ({ type, path })),
    sysctl: linux?.sysctl,
    netDevices: Object.fromEntries(
      Object.entries(linux?.netDevices ?? {}).map(([key, { name }]) => [key, { name }]),
    ),
    cgroupsPath: linux?.cgroupsPath ?? "",
    oomScoreAdj: number(linux?.oomScoreAdj),
    limits: [memory?.limit, memory?.reservation, memory?.swap].map(number),
    times: [cpu?.shares, cpu?.quota, cpu?.period, cpu?.realtimeRuntime].map(number),
    sets: [cpu?.cpus || undefined, cpu?.mems || undefined],
    // Which the specification has no number for.
    pids: Math.max(Number(linux?.resources?.pids?.limit ?? 0n), 0),
    unified: linux?.resources?.unified,
    hugepages: linux?.resources?.hugepageLimits.map(({ pageSize, limit }) => ({
      pageSize,
      limit: Number(limit),
    })),
    rules: linux?.resources?.devices.map(({ allow, access, type }) => ({ allow, access, type })),
  };
}

/** The same of a specification made by NRI's own code. */
function specBy({ process, annotations, mounts = [], hooks = {}, linux }: any): object {
  const { memory = {}, cpu = {}, pids, unified, hugepageLimits = [], devices = [] } = linux.resources;
  return {
    args: process.args,
    env: process.env ?? [],
    annotations: annotations ?? {},
    mounts: mounts.map(({ destination, source = "" }: any) => ({ destination, source })),
    rlimits: (process.rlimits ?? []).map(({ type, soft }: any) => ({ type, soft })),
    hooks: Object.values(hooks)
      .flatMap((list: any) => list.map(({ path }: any) => path))
      .toSorted(),
    devices: (linux.devices ?? []).map(({ path, type, minor }: any) => ({ path, type, minor })),
    namespaces: (linux.namespaces ?? []).map(({ type, path = "" }: any) => ({ type, path })),
    sysctl: linux.sysctl ?? {},
    netDevices: linux.netDevices ?? {},
    cgroupsPath: linux.cgroupsPath ?? "",
    oomScoreAdj: process.oomScoreAdj,
    limits: [memory.limit, memory.reservation, memory.swap],
    times: [cpu.shares, cpu.quota, cpu.period, cpu.realtimeRuntime],
    sets: [cpu.cpus, cpu.mems],
    pids: pids?.limit ?? 0,
    unified: unified ?? {},
    hugepages: hugepageLimits.map(({ pageSize, limit }: any) => ({ pageSize, limit })),
    rules: devices.map(({ allow, access, type }: any) => ({ allow, access, type })),
  };
}

/** Whether an entry of a record is both set and removed, which NRI 0.12.5 does in any order. */
function isUndecided(answer: Answer): boolean {
  const { annotations, linux } = (answer.validated as any)?.adjust ?? {};
  return [annotations, linux?.sysctl, linux?.netDevices].some((record) =>
    Object.keys(record ?? {}).some((key) => Object.hasOwn(record, `-${key}`)),
  );
}

/** A conflict's text. Of several entries of a record that conflict, NRI may name any. */
function decided(text: string): string {
  const record = /^(plugins "\S+") and .* (Annotations|Sysctl|LinuxNetDevices|CgroupsUnified) .*$/;
  return text.replace(record, "$1 $2");
}

async function conflictOf(made: Promise<unknown>): Promise<string> {
  return made.then(
    () => "none",
    (error: Error) => decided(error.message),
  );
}

describeWithGo("the test runtime agrees with NRI's own Go code", () => {
  withNriPeer();

  it("about what plugins see, validate, conflict over, and make of a new container", BUSY, async () => {
    const random = new RandomChanges(1);
    const cases = Array.from({ length: 400 }, () => {
      const replies = PLUGINS.map(() => ({
        adjust: random.adjustment(),
        update: random.updates(["x", "y"]),
      }));
      return { container: random.container(), replies };
    });
    const answers = ask(
      cases.map(({ container, replies }) => ({
        container: base64(ContainerSchema, container),
        replies: replies.map((reply) =>
          base64(CreateContainerResponseSchema, create(CreateContainerResponseSchema, reply)),
        ),
      })),
    );
    const { runtime, told, seen, validated, pod } = await threePlugins();
    await using _ = runtime;
    let made = 0;
    for (const [index, { container: init, replies }] of cases.entries()) {
      const answer = answers[index] as Answer;
      const about = `case ${index}`;
      told.creations = replies;
      seen.length = validated.length = 0;
      const creation = runtime.createContainer(pod, init);
      if (answer.error === "") await creation;
      else expect(await conflictOf(creation), about).toBe(decided(answer.error));
      expect(seen, about).toEqual(answer.seen.map((each) => plain(each)));
      if (answer.error !== "") continue;
      const { container } = await creation;
      const { update, plugins, ...event } = validated[0] as ValidationEvent;
      const request = create(ValidateContainerAdjustmentRequestSchema, {
        ...event,
        pod: { id: "pod" },
        update: [...update],
        plugins: [...plugins],
      });
      expect(json(ValidateContainerAdjustmentRequestSchema, request), about).toEqual(plain(answer.validated));
      if (isUndecided(answer)) continue;
      expect(plain(specOf(container)), about).toEqual(plain(specBy(answer.spec)));
      made++;
    }
    expect(made).toBeGreaterThan(100);
  });

  it("about what plugins see when a container is updated, and what they update", BUSY, async () => {
    const random = new RandomChanges(2);
    const ids = ["new", "x", "y"];
    const cases = Array.from({ length: 200 }, () => ({
      resources: random.resources(0.5),
      replies: PLUGINS.map(() => ({ update: random.updates(ids) })),
    }));
    const container = base64(ContainerSchema, create(ContainerSchema, { id: "new" }));
    const answers = ask(
      cases.map(({ resources, replies }) => ({
        container,
        resources: base64(LinuxResourcesSchema, resources),
        replies: replies.map((reply) =>
          base64(UpdateContainerResponseSchema, create(UpdateContainerResponseSchema, reply)),
        ),
      })),
    );
    const { runtime, told, seen, pod } = await threePlugins();
    await using _ = runtime;
    const containers = new Map<string, Container>();
    for (const id of ids) containers.set(id, (await runtime.createContainer(pod, { id })).container);
    let made = 0;
    for (const [index, { resources, replies }] of cases.entries()) {
      const answer = answers[index] as Answer;
      const about = `case ${index}`;
      for (const each of containers.values()) each.linux = create(LinuxContainerSchema);
      told.updates = replies;
      seen.length = 0;
      const update = runtime.updateContainer(containers.get("new") as Container, resources);
      if (answer.error === "") await update;
      else expect(await conflictOf(update), about).toBe(decided(answer.error));
      expect(seen, about).toEqual(answer.seen.map((each) => plain(each)));
      for (const { containerId, linux } of answer.error === "" ? (answer.updates ?? []) : []) {
        const updated = containers.get(containerId)?.linux?.resources ?? create(LinuxResourcesSchema);
        const asked = plain(linux?.resources ?? {});
        // NRI lists a size of the request and of a plugin's update.
        if (asked.hugepageLimits !== undefined)
          asked.hugepageLimits = [
            ...new Map(asked.hugepageLimits.map((each: any) => [each.pageSize, each])).values(),
          ];
        expect(json(LinuxResourcesSchema, updated), about).toEqual(asked);
        made++;
      }
    }
    expect(made).toBeGreaterThan(150);
  });
});
