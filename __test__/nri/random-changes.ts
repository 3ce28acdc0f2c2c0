import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type Container,
  type ContainerAdjustment,
  ContainerAdjustmentSchema,
  ContainerSchema,
  type ContainerUpdate,
  ContainerUpdateSchema,
  type LinuxResources,
  LinuxResourcesSchema,
} from "containerd-shim-protos/nri";
import { Random } from "../codec/random.js";

type Init = MessageInitShape<typeof ContainerAdjustmentSchema>;
type LinuxInit = Exclude<NonNullable<Init["linux"]>, { $typeName: string }>;

const KEYS = ["a", "b", "c"];
const PLACES = ["/a", "/b", "/c/d", "/e"];
const NAMESPACES = ["ipc", "pid", "network"];
const PHASES = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/** Random containers, and random changes of them. They use the same few keys, so that they often meet. */
export class RandomChanges {
  readonly #random: Random;

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  /** A container without changes. */
  container(): Container {
    return create(ContainerSchema, {
      id: "new",
      name: "new",
      podSandboxId: "pod-1",
      args: ["sh"],
      env: this.#keyed(KEYS, (key) => `${key}=${this.#word()}`),
      annotations: Object.fromEntries(this.#keyed(KEYS, (key) => [key, this.#word()])),
      mounts: this.#keyed(PLACES, (destination) => ({ destination, source: this.#word() })),
      hooks: this.#maybe(0.2, () => ({ prestart: [{ path: this.#word() }] })),
      rlimits: this.#keyed(["a"], (type) => ({ type, soft: 1n, hard: 2n })),
      linux: {
        devices: this.#keyed(PLACES, (path) => ({ path, type: "c", major: 1n, minor: this.#small() })),
        resources: this.resources(0.3),
        namespaces: this.#keyed(NAMESPACES, (type) => ({ type, path: this.#word() })),
        sysctl: Object.fromEntries(this.#keyed(KEYS, (key) => [key, this.#word()])),
        netDevices: Object.fromEntries(this.#keyed(KEYS, (key) => [key, { name: this.#word() }])),
        cgroupsPath: this.#random.pick(["", "/own"]),
      },
    });
  }

  /** What a plugin changes of a container, often only a little. */
  adjustment(): ContainerAdjustment {
    const often = this.#random.pick([0.1, 0.3, 0.6]);
    const some = <T>(keys: readonly string[], make: (key: string) => T): T[] =>
      this.#random.chance(often) ? this.#keyed(keys, make) : [];
    const record = <T>(value: () => T, removal: T): Record<string, T> =>
      Object.fromEntries(
        some(KEYS, (key): [string, T] => {
          const marked = this.#marked(key);
          return [marked, marked === key ? value() : removal];
        }),
      );
    const linux: LinuxInit = {
      devices: some(PLACES, (path) => {
        const marked = this.#marked(path);
        if (marked !== path) return { path: marked };
        return { path, type: this.#random.pick(["b", "c"]), major: 2n, minor: this.#small() };
      }),
      resources: this.#maybe(0.5, () => this.resources(often)),
      namespaces: some(NAMESPACES, (type) => ({ type: this.#marked(type), path: this.#word() })),
      sysctl: record(() => this.#word(), ""),
      netDevices: record(() => ({ name: this.#word() }), { name: "" }),
      cgroupsPath: this.#random.chance(often / 3) ? "/other" : "",
      oomScoreAdj: this.#maybe(often / 3, () => ({ value: this.#small() })),
      ioPriority: this.#maybe(often / 3, () => ({ class: 2, priority: 1 })),
      seccompPolicy: this.#maybe(often / 3, () => ({ defaultAction: "SCMP_ACT_ALLOW" })),
      scheduler: this.#maybe(often / 3, () => ({ policy: 3, nice: 1 })),
      memoryPolicy: this.#maybe(often / 3, () => ({ mode: 2, nodes: "0" })),
      rdt: this.#maybe(often, () => ({
        closId: this.#maybe(0.5, () => ({ value: this.#word() })),
        schemata: this.#maybe(0.3, () => ({ value: [this.#word()] })),
        enableMonitoring: this.#maybe(0.3, () => ({ value: this.#random.chance(0.5) })),
        remove: this.#random.chance(0.3),
      })),
    };
    return create(ContainerAdjustmentSchema, {
      env: some(KEYS, (key) => ({ key: this.#marked(key), value: this.#word() })),
      annotations: record(() => this.#word(), ""),
      mounts: some(PLACES, (place) => ({ destination: this.#marked(place), source: this.#word() })),
      args: this.#random.chance(often / 2) ? this.#random.pick([["x"], ["", "y"], [""]]) : [],
      hooks: this.#maybe(often, () => ({ [this.#random.pick(PHASES)]: [{ path: this.#word() }] })),
      rlimits: some(KEYS, (type) => ({ type, soft: 3n, hard: 4n })),
      CDIDevices: some(KEYS, (name) => ({ name })),
      linux: this.#maybe(0.8, () => linux),
    });
  }

  /** Updates of containers that have these ids. */
  updates(ids: readonly string[]): ContainerUpdate[] {
    return Array.from({ length: this.#random.below(3) }, () =>
      create(ContainerUpdateSchema, {
        containerId: this.#random.pick(ids),
        linux: { resources: this.resources(0.3) },
        ignoreFailure: this.#random.chance(0.3),
      }),
    );
  }

  /** Resources, of which each part is there with this probability. */
  resources(often: number): LinuxResources {
    const value = (part: number) => this.#maybe(part, () => ({ value: this.#small() * 1000n }));
    const flag = () => this.#maybe(0.2, () => ({ value: this.#random.chance(0.5) }));
    const name = () => this.#maybe(often, () => ({ value: this.#word() }));
    return create(LinuxResourcesSchema, {
      memory: this.#maybe(often, () => ({
        limit: value(0.4),
        reservation: value(0.2),
        swap: value(0.2),
        disableOomKiller: flag(),
        useHierarchy: flag(),
      })),
      cpu: this.#maybe(often, () => ({
        shares: value(0.4),
        quota: value(0.2),
        period: value(0.2),
        realtimeRuntime: value(0.1),
        cpus: this.#random.pick(["", "", "0-1"]),
        mems: this.#random.pick(["", "", "0"]),
      })),
      hugepageLimits: this.#random.chance(often)
        ? this.#keyed(["2MB", "1GB"], (pageSize) => ({ pageSize, limit: this.#small() }))
        : [],
      // Of several that conflict, NRI claims any before it finds out.
      unified: Object.fromEntries(this.#keyed(KEYS, (key) => [key, this.#word()]).slice(0, 1)),
      pids: this.#maybe(often, () => ({ limit: this.#small() - 1n })),
      blockioClass: name(),
      rdtClass: name(),
    });
  }

  #maybe<T>(probability: number, make: () => T): T | undefined {
    return this.#random.chance(probability) ? make() : undefined;
  }

  /** Something for some of the keys, in any order. */
  #keyed<T>(keys: readonly string[], make: (key: string) => T): T[] {
    const chosen = new Set(Array.from({ length: this.#random.below(3) }, () => this.#random.pick(keys)));
    return [...chosen].map(make);
  }

  #marked(key: string): string {
    return this.#random.chance(0.3) ? `-${key}` : key;
  }

  #word(): string {
    return `w${this.#random.below(1000)}`;
  }

  #small(): bigint {
    return BigInt(this.#random.below(4));
  }
}
