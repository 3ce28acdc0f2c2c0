import { hash } from "node:crypto";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Any, StringValueSchema, timestampFromDate } from "@bufbuild/protobuf/wkt";
import { packAny, unpackAny } from "containerd-shim-protos";
import { type ContainerdEvent, type EventGap, EnvelopeSchema } from "containerd-shim-protos/events";
import { registry } from "containerd-shim-protos/registry";
import { eventMs } from "../events/time.js";

/** An event on its way: what the spool and NATS keep. */
export interface Record {
  /** The same for an event that comes twice, and for no other: a hash of the host and of all that the event is. */
  readonly id: string;
  readonly namespace: string;
  readonly topic: string;
  readonly atMs: number;
  /** The container, if its message names one. */
  readonly container: string | null;
  /** A containerd.types.Envelope. */
  readonly envelope: Uint8Array;
}

/** The topic, in the namespace `fleet`, of an event that says where others may be missing. */
export const GAP_TOPIC = "/fleet/gap";

export function recordOf(
  host: string,
  { namespace, topic, timestamp, any, message }: Omit<ContainerdEvent, "type">,
): Record {
  const envelope = toBinary(
    EnvelopeSchema,
    create(EnvelopeSchema, { namespace, topic, timestamp, event: any }),
  );
  const { containerId } = (message ?? {}) as { containerId?: string };
  const whole = Buffer.concat([Buffer.from(`${host}\0`), envelope]);
  return {
    id: hash("sha256", whole, "base64url" as "base64").slice(0, 24),
    namespace,
    topic,
    atMs: eventMs(timestamp),
    container: containerId ?? null,
    envelope,
  };
}

/** An event of our own for a gap, so that it keeps its place among the others all the way. */
export function gapRecord(host: string, { since, dropped, error }: EventGap): Record {
  const value = `since ${since.toISOString()}, ${dropped} dropped: ${error?.message ?? "the reader was slow"}`;
  return recordOf(host, {
    namespace: "fleet",
    topic: GAP_TOPIC,
    timestamp: timestampFromDate(new Date()),
    any: packAny(StringValueSchema, { value }),
    message: undefined,
  });
}

/** An event for people and programs to read. */
export interface Shown {
  readonly host: string;
  readonly at: string;
  readonly namespace: string;
  readonly topic: string;
  readonly message: { [name: string]: unknown };
}

export function shownOf(host: string, { buffer, byteOffset, length }: Uint8Array): Shown {
  // A Buffer, as better-sqlite3 returns it, would be the class of the message's bytes too, and has a JSON of its own.
  const bytes = new Uint8Array(buffer, byteOffset, length);
  const { namespace, topic, timestamp, event } = fromBinary(EnvelopeSchema, bytes);
  const at = new Date(eventMs(timestamp)).toISOString();
  const { $typeName: _, ...message } = unpacked(event) ?? { $typeName: "" };
  return { host, at, namespace, topic, message };
}

/** The message of an event; undefined if its type is unknown or its bytes do not decode. */
function unpacked(event: Any | undefined) {
  try {
    return event && (unpackAny(event, registry) ?? unpackAny(event, StringValueSchema));
  } catch {
    return undefined;
  }
}

/** JSON of it; 64-bit integers become strings, bytes base64. */
export function jsonOf(shown: Shown): string {
  return JSON.stringify(shown, (_, value: unknown) => {
    if (typeof value === "bigint") return String(value);
    return value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value;
  });
}
