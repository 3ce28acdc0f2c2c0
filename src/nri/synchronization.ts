import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { Code } from "../code.js";
import { encode } from "../codec/codec.js";
import { TtrpcError } from "../error.js";
import { MESSAGE_LIMIT } from "../native/records.js";
import {
  type ContainerUpdate,
  ContainerUpdateSchema,
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
  #parts: SynchronizeRequest[] = [];
  #measured = 0;
  #bytes = 0;

  /** Adds a part. After the last one it returns all of them, and begins anew. */
  add(part: SynchronizeRequest): Inventory | undefined {
    // Measuring takes time that the runtime counts, so it is left until the parts could have too much.
    if ((this.#parts.length + 1) * MESSAGE_LIMIT > GATHER_LIMIT) this.#measure(part);
    this.#parts.push(part);
    if (part.more) return undefined;
    const parts = this.#parts;
    this.#parts = [];
    this.#measured = this.#bytes = 0;
    return {
      pods: parts.flatMap(({ pods }) => pods),
      containers: parts.flatMap(({ containers }) => containers),
    };
  }

  #measure(part: SynchronizeRequest): void {
    for (const each of [...this.#parts.slice(this.#measured), part])
      this.#bytes += sizeOf(SynchronizeRequestSchema, each);
    this.#measured = this.#parts.length + 1;
    if (this.#bytes <= GATHER_LIMIT) return;
    const text = `the parts of Synchronize have more than ${GATHER_LIMIT} bytes`;
    throw new TtrpcError(text, Code.ResourceExhausted);
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
