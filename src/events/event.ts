import { types } from "node:util";
import type { DescMessage, Message, MessageInitShape, Registry } from "@bufbuild/protobuf";
import type { Any, Timestamp } from "@bufbuild/protobuf/wkt";
import { Code } from "../code.js";
import { decode, encodeWith } from "../codec/codec.js";
import { longFrom } from "../codec/longs.js";
import { validate } from "../codec/validate.js";
import { TimestampSchema } from "../descriptors/well-known.js";
import { nameRefusal, TtrpcError } from "../error.js";
import { isDescriptor, kindOf, shortened, textOf } from "../value-kinds.js";
import { keptCopy } from "../codec/slab.js";
import { eventFiles } from "../protos/event-files.js";
import { ForwardRequestSchema } from "../protos/generated/containerd/services/events/ttrpc/v1/events_pb.js";

/** An event from containerd or a shim. */
export interface ContainerdEvent {
  /** The containerd namespace that it belongs to. */
  readonly namespace: string;
  /** The topic, such as `/tasks/exit`. */
  readonly topic: string;
  /** When it happened, in seconds since 1970 and nanoseconds; protobuf-es's `timestampDate` turns it into a Date. */
  readonly timestamp: Timestamp;
  /** The full name of its message, such as `containerd.events.TaskExit`. */
  readonly type: string;
  /**
   * The decoded message; narrow it with `isMessage(event.message, TaskExitSchema)`. Undefined if the type is unknown, the
   * bytes do not decode, or the decoded objects would take too much memory; `unpackAny(event.any, schema)` shows which.
   */
  readonly message: Message | undefined;
  /** The message as it was sent. */
  readonly any: Any;
}

/** The messages of containerd's events, by full name. */
const known: ReadonlyMap<string, DescMessage> = new Map(
  eventFiles
    .flatMap(({ messages }) => messages.flatMap((message) => [message, ...message.nestedMessages]))
    .map((message) => [message.typeName, message]),
);

const NO_TIME: Timestamp = { $typeName: "google.protobuf.Timestamp", seconds: longFrom(0), nanos: 0 };
const NO_MESSAGE: Any = { $typeName: "google.protobuf.Any", typeUrl: "", value: new Uint8Array(0) };

/** Finds message types by their full names. */
export type TypeOf = (name: string) => DescMessage | undefined;

/**
 * Looks a type up in the user's registry, if there is one, then among containerd's events. A registry that throws knows
 * no type; a process warning reports its first failure.
 */
export function typesOf(registry: Registry | undefined): TypeOf {
  if (registry === undefined) return (name) => known.get(name);
  if (!isDescriptor(registry, "registry"))
    throw new TypeError(`registry must be a registry of protobuf-es, not ${kindOf(registry)}`);
  let reported = false;
  return (name) => {
    let type: DescMessage | undefined;
    try {
      const found: unknown = registry.getMessage(name);
      if (types.isPromise(found)) {
        // It is not awaited, and must not end the process with its rejection.
        found.catch(() => undefined);
        throw new TypeError("it returned a Promise");
      }
      type = found as DescMessage | undefined;
    } catch (error) {
      const text = "registry.getMessage failed; its types are unknown, and this is reported once";
      if (!reported) process.emitWarning(`${text}: ${textOf(error)}`, { type: "TtrpcWarning" });
      reported = true;
    }
    return type ?? known.get(name);
  };
}

/** An event as it arrived, whose message is set by {@link unpack}. */
export type ArrivedEvent = Omit<ContainerdEvent, "message"> & { message: ContainerdEvent["message"] };

/**
 * Reads the event of a ForwardRequest, whose bytes it keeps. Throws a TtrpcError with code `InvalidArgument` for a
 * request without an envelope, and `Internal` for one that does not decode.
 */
export function readEvent(request: Uint8Array): ArrivedEvent {
  const { envelope } = decode(ForwardRequestSchema, request);
  if (envelope === undefined) throw new TtrpcError("the event has no envelope", Code.InvalidArgument);
  const { namespace, topic, timestamp = { ...NO_TIME }, event: any = { ...NO_MESSAGE } } = envelope;
  const type = any.typeUrl.slice(any.typeUrl.lastIndexOf("/") + 1);
  return { namespace, topic, timestamp, type, message: undefined, any };
}

/** Decodes an event's message. Never call it while a batch is read: the registry and its types are user code. */
export function unpack(event: ArrivedEvent, typeOf: TypeOf): void {
  const schema = typeOf(event.type);
  if (schema === undefined) return;
  try {
    event.message = decode(schema, event.any.value);
  } catch {
    // It stays undefined, and the bytes say why.
  }
}

/** The event in a request that this side encoded. */
export function eventOf(request: Uint8Array): ContainerdEvent {
  const event = readEvent(request);
  unpack(event, typesOf(undefined));
  return event;
}

/** What containerd takes for a part of a topic, and for a namespace. */
const IDENTIFIER = /^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$/;
const IDENTIFIER_LIMIT = 76;

/** The longest text that is remembered: a topic may have any number of parts. */
const LONGEST_REMEMBERED = 256;

/** Remembers what had no fault: there are few namespaces and topics, and they come with every event. */
function remembering(faultOf: (text: string) => string | undefined): (text: unknown) => string | undefined {
  const right = new Set<unknown>();
  return (text) => {
    if (right.has(text)) return undefined;
    const fault = faultOf(text as string);
    if (fault !== undefined || (text as string).length > LONGEST_REMEMBERED) return fault;
    if (right.size === 1000) right.clear();
    right.add(text);
    return undefined;
  };
}

/** What is wrong with a namespace, if anything is. */
export const namespaceFault = remembering((namespace) => {
  if (typeof namespace !== "string") return `namespace must be a string, not ${kindOf(namespace)}`;
  return identifierFault("namespace", namespace);
});

/** What is wrong with a topic, if anything is. */
export const topicFault = remembering((topic) => {
  if (typeof topic !== "string") return `topic must be a string, not ${kindOf(topic)}`;
  const quoted = JSON.stringify(shortened(topic));
  if (!topic.startsWith("/")) return `topic ${quoted} must start with "/"`;
  const what = `a part of the topic ${quoted}`;
  for (const part of topic.slice(1).split("/")) {
    const fault = identifierFault(what, part);
    if (fault !== undefined) return fault;
  }
  return undefined;
});

/**
 * What is wrong with the beginning of topics, if anything is. A pattern such as `/tasks/*` would match none: nothing but the
 * characters of topics is in a topic that containerd takes.
 */
export function topicPrefixFault(prefix: string): string | undefined {
  if (/^\/[A-Za-z0-9._/-]*$/.test(prefix)) return undefined;
  const quoted = JSON.stringify(shortened(prefix));
  return `${quoted} must be the beginning of topics: "/", then letters, digits, "/", "-", "_" and "."`;
}

function identifierFault(what: string, text: string): string | undefined {
  if (text === "") return `${what} must not be empty`;
  if (text.length > IDENTIFIER_LIMIT)
    return `${what} must have up to ${IDENTIFIER_LIMIT} characters, not ${text.length}`;
  if (IDENTIFIER.test(text)) return undefined;
  return `${what}, ${JSON.stringify(text)}, must be letters and digits, with single "-", "_" or "." between them`;
}

/** The first second of the year 1, which is Go's "no time", and the last of the year 9999. */
const [NO_TIME_OF_GO, LAST_SECOND] = [-62_135_596_800, 253_402_300_799];

/** What is wrong with a timestamp, if anything is. containerd 1.x refuses it, and nobody could show it as a date. */
export function timestampFault({
  seconds = NO_TIME.seconds,
  nanos = 0,
}: MessageInitShape<typeof TimestampSchema>): string | undefined {
  const second = Number(seconds);
  if (second < NO_TIME_OF_GO || second > LAST_SECOND)
    return `timestamp.seconds must be in the years 1 to 9999, not ${seconds}`;
  if (nanos < 0 || nanos > 999_999_999) return `timestamp.nanos must be from 0 to 999999999, not ${nanos}`;
  if (second === NO_TIME_OF_GO && nanos === 0)
    return "timestamp is the beginning of the year 1, which stands for no time";
  return undefined;
}

/** Throws a TtrpcError with code `InvalidArgument` for an event that containerd refuses. */
export function refuseEvent({ namespace, topic, timestamp }: ContainerdEvent): void {
  const hasTime = timestamp.seconds !== NO_TIME.seconds || timestamp.nanos !== 0;
  const time = hasTime ? timestampFault(timestamp) : "the event has no timestamp";
  const fault = namespaceFault(namespace) ?? topicFault(topic) ?? time;
  if (fault !== undefined) throw new TtrpcError(fault, Code.InvalidArgument);
}

const kept = (bytes: Uint8Array, end: number) => keptCopy(bytes, 0, end);

/** A ForwardRequest of a message. Throws a TypeError that names what is wrong. */
export function writeEvent<Desc extends DescMessage>(
  namespace: string,
  topic: string,
  timestamp: MessageInitShape<typeof TimestampSchema>,
  schema: Desc,
  message: MessageInitShape<Desc>,
): Uint8Array {
  try {
    return encodeWith(schema, message, (bytes, end) => {
      const event = { typeUrl: schema.typeName, value: bytes.subarray(0, end) };
      return encodeWith(ForwardRequestSchema, { envelope: { timestamp, namespace, topic, event } }, kept);
    });
  } catch (error) {
    // By its own name, if that is what is wrong.
    validate(TimestampSchema, timestamp, "timestamp");
    nameRefusal(error, schema.typeName);
    throw error;
  }
}
