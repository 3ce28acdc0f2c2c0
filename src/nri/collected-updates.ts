import { clone, create } from "@bufbuild/protobuf";
import { Code } from "../code.js";
import { setEntry } from "../codec/read.js";
import { TtrpcError } from "../error.js";
import {
  type ContainerUpdate,
  ContainerUpdateSchema,
  Field,
  LinuxCPUSchema,
  LinuxMemorySchema,
  type LinuxResources,
  LinuxResourcesSchema,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import { CLASSES, CPU, MEMORY, claimFields } from "./collected-fields.js";
import type { Owners } from "./owners.js";

/** What the updates that plugins reply with are about. */
interface About {
  /** The id of the container that is being created, which cannot be updated. */
  readonly created?: string;
  /** The container that is being updated, and its new resources. */
  readonly updated?: { readonly id: string; readonly resources: LinuxResources };
}

/**
 * Updates of containers that plugins reply with, put together as NRI 0.12.5 does: one for each container. It does not take
 * limits of processes and device rules.
 */
export class CollectedUpdates {
  /** The updates that plugins have asked for, without those that conflict and whose failure is ignored. */
  readonly asked: ContainerUpdate[] = [];
  /** The new resources of the container that is being updated, as the next plugin sees them. */
  requested: LinuxResources | undefined;
  readonly #owners: Owners;
  readonly #about: About;
  readonly #merged = new Map<string, ContainerUpdate>();

  constructor(owners: Owners, about: About = {}) {
    this.#owners = owners;
    this.#about = about;
    if (about.updated !== undefined) this.requested = complete(about.updated.resources);
  }

  /** The updates of each container; that of the container which is being updated is the last one. */
  get merged(): ContainerUpdate[] {
    const { updated } = this.#about;
    const isLast = ({ containerId }: ContainerUpdate) => containerId === updated?.id;
    const all = [...this.#merged.values()];
    return [...all.filter((update) => !isLast(update)), ...all.filter(isLast)];
  }

  /**
   * Whether a plugin has updated a container. What it asks for then replaces the request, from which it began; but an update
   * without resources replaces it with nothing.
   */
  hasUpdated(id: string): boolean {
    return this.#merged.has(id);
  }

  /** Adds what a plugin replied. Throws a TtrpcError if it conflicts, unless the failure of the update is ignored. */
  add(plugin: string, updates: readonly ContainerUpdate[]): void {
    for (const update of updates) {
      const { containerId: id, linux, ignoreFailure } = update;
      if (id === this.#about.created)
        throw new TtrpcError(`plugin "${plugin}" asked update of "${id}" during creation`, Code.Unknown);
      const merged = this.#merged.get(id) ?? emptyUpdate(update);
      merged.ignoreFailure &&= ignoreFailure;
      this.#merged.set(id, merged);
      try {
        if (linux?.resources !== undefined) this.#addResources(plugin, merged, linux.resources);
        this.asked.push(update);
      } catch (error) {
        if (!ignoreFailure) throw error;
      }
    }
  }

  /** Changes nothing if it throws. */
  #addResources(plugin: string, merged: ContainerUpdate, change: LinuxResources): void {
    const id = merged.containerId;
    const isRequested = id === this.#about.updated?.id;
    const before = isRequested ? this.requested : merged.linux?.resources;
    const result = complete(before ?? create(LinuxResourcesSchema));
    claimFields(this.#owners, id, plugin, change.memory, MEMORY, result.memory as object);
    claimFields(this.#owners, id, plugin, change.cpu, CPU, result.cpu as object);
    for (const limit of change.hugepageLimits) {
      this.#owners.claim(id, Field.HugepageLimits, plugin, limit.pageSize);
      result.hugepageLimits.push(limit);
    }
    for (const [file, value] of Object.entries(change.unified)) {
      this.#owners.claim(id, Field.CgroupsUnified, plugin, file);
      setEntry(result.unified, file, value);
    }
    claimFields(this.#owners, id, plugin, change, CLASSES, result);
    // NRI looks at the limit of the request instead of the plugin's.
    if (result.pids !== undefined) this.#owners.claim(id, Field.PidsLimit, plugin);
    if (isRequested) this.requested = result;
    merged.linux = clone(
      ContainerUpdateSchema,
      create(ContainerUpdateSchema, { linux: { resources: result } }),
    ).linux;
  }
}

function emptyUpdate({ containerId, ignoreFailure }: ContainerUpdate): ContainerUpdate {
  const resources = complete(create(LinuxResourcesSchema));
  return create(ContainerUpdateSchema, { containerId, ignoreFailure, linux: { resources } });
}

/** A copy of resources in which no part is missing. */
function complete(resources: LinuxResources): LinuxResources {
  const result = clone(LinuxResourcesSchema, resources);
  result.memory ??= create(LinuxMemorySchema);
  result.cpu ??= create(LinuxCPUSchema);
  return result;
}
