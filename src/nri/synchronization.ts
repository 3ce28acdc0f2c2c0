import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { Code } from "../code.js";
import { encode } from "../codec/codec.js";
import { TtrpcError } from "../error.js";
import {
  type Container,
  type ContainerUpdate,
  ContainerUpdateSchema,
  type PodSandbox,
  type SynchronizeRequest,
  SynchronizeRequestSchema,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import type { Inventory } from "./handlers.js";

/** The most bytes of updates in one message, which holds 4 MiB with its envelope. */
const PART_LIMIT = 3 << 20;
/** The most bytes of pods and containers that are gathered. */
const GATHER_LIMIT = 512 << 20;

/** Gathers the parts in which a runtime lists its pods and containers. */
export class Gatherer {
  #pods: PodSandbox[] = [];
  #containers: Container[] = [];
  #bytes = 0;

  /** Adds a part. After the last one it returns all of them, and begins anew. */
  add(part: SynchronizeRequest): Inventory | undefined {
    // One part fits a message, so only more of them need a limit.
    if (part.more || this.#bytes > 0) this.#bytes += sizeOf(SynchronizeRequestSchema, part);
    if (this.#bytes > GATHER_LIMIT) {
      throw new TtrpcError(
        `the parts of Synchronize have more than ${GATHER_LIMIT} bytes`,
        Code.ResourceExhausted,
      );
    }
    for (const pod of part.pods) this.#pods.push(pod);
    for (const container of part.containers) this.#containers.push(container);
    if (part.more) return undefined;
    const whole = { pods: this.#pods, containers: this.#containers };
    this.#pods = [];
    this.#containers = [];
    this.#bytes = 0;
    return whole;
  }
}

/** Divides updates into parts that fit a message each. There is at least one part. */
export function divided(updates: readonly ContainerUpdate[]): ContainerUpdate[][] {
  const parts: ContainerUpdate[][] = [];
  let size = PART_LIMIT;
  for (const update of updates) {
    const bytes = sizeOf(ContainerUpdateSchema, update) + 6;
    if (size + bytes > PART_LIMIT) {
      parts.push([]);
      size = 0;
    }
    parts.at(-1)?.push(update);
    size += bytes;
  }
  return parts.length === 0 ? [[]] : parts;
}

function sizeOf<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): number {
  return encode(schema, message).length;
}
