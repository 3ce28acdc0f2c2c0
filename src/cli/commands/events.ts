import { create, toJson } from "@bufbuild/protobuf";
import { type Timestamp, timestampDate, TimestampSchema } from "@bufbuild/protobuf/wkt";
import { parseAddress } from "../../address.js";
import {
  type ContainerdEvent,
  EnvelopeSchema,
  type EventSink,
  forwardEvents,
  type EventSubscription,
  listenEvents,
  subscribeEvents,
} from "../../events/index.js";
import { AmbiguousId, isAddress, taskNamed } from "../../shims/target.js";
import { isAbstract, socketPath } from "../../server/socket-file.js";
import { findTasks } from "../../shims/bundles.js";
import { withConnection } from "../connecting.js";
import { UsageError } from "../errors.js";
import { transportCode } from "../describe-error.js";
import { anyToJson, messageToJson, type ToJsonOptions } from "../message-to-json.js";
import type { Json, JsonMap } from "../json-value.js";
import { listeningError, removedAtExit } from "../listening.js";
import { Feed } from "../output/feed.js";
import { jsonLine, plainJson } from "../output/json.js";
import { rawOf } from "../output/raw.js";
import { handedOver, print, printError, styled } from "../output/stdout.js";
import { Text, text } from "../output/text.js";
import type { SchemaOptions } from "../schema/options.js";
import { loadRegistry } from "../schema/schema.js";
import { untilStopped } from "../signals.js";
import { lookUpError, placesIn, type PlaceOptions } from "../target.js";

/** The options of `shimctl events`. */
export interface EventsOptions extends SchemaOptions, PlaceOptions {
  readonly topic?: readonly string[];
  readonly namespace?: readonly string[];
  readonly filter?: readonly string[];
  readonly forward?: string;
  readonly json?: boolean;
  readonly emitDefaults?: boolean;
}

/**
 * Prints events until it is stopped: those of containerd, or those that shims publish to an address.
 *
 * @param target - Where to listen in containerd's place, or the container whose events are printed.
 */
export async function events(target: string | undefined, options: EventsOptions): Promise<void> {
  const registry = await loadRegistry(options);
  const shown = { registry, emitDefaults: options.emitDefaults };
  if (target !== undefined && isAddress(target)) {
    await listenAt(target, options, shown);
    return;
  }
  if (options.forward !== undefined) throw new UsageError("--forward needs an address to listen on");
  await subscribeTo(target, target === undefined ? options : narrowed(target, options), shown);
}

/** Events that may wait for the reader of stdout at the same time. Their publishers wait, too. */
const MOST_UNACKNOWLEDGED = 100;

/** Receives events as containerd does. */
async function listenAt(address: string, options: EventsOptions, shown: ToJsonOptions): Promise<void> {
  const { forward } = options;
  if (options.filter !== undefined) throw new UsageError("--filter is for containerd, not for an address");
  // Without containerd, events would only be held up, so this fails at once.
  if (forward !== undefined) await withConnection(forward, {}, async () => undefined);
  await untilStopped(async (signal) => {
    const sink = listen(address, options);
    const path = socketPath(parseAddress(sink.address));
    const removeFile = path === undefined ? () => undefined : removedAtExit(path);
    const close = () => {
      removeFile();
      return sink.close();
    };
    signal.addEventListener("abort", () => void close());
    if (signal.aborted) void close();
    // Not on stdout, which is for events.
    printError(`listening on ${sink.address}${forward === undefined ? "" : `, forwarding to ${forward}`}`);
    const feed = new Feed();
    try {
      // Asking for the next batch acknowledges the last one.
      for await (const batch of sink.batches({ maxEvents: MOST_UNACKNOWLEDGED })) {
        const lines = batch.map((event) => formatted(event, shown, options));
        // Events on their way to containerd must not wait for the reader of stdout.
        if (forward !== undefined) for (const line of lines) feed.write(line);
        else if (!(await handedOver(lines))) break;
      }
    } finally {
      // However the loop ended: an event that nobody reads must not be accepted.
      await close();
      feed.end();
    }
  });
}

/** Subscribes to containerd. It is made again when it is lost, but must be possible at first. */
async function subscribeTo(
  id: string | undefined,
  options: EventsOptions,
  shown: ToJsonOptions,
): Promise<void> {
  const { containerd } = placesIn(options);
  await withConnection(containerd, {}, async () => undefined);
  await untilStopped(async (signal) => {
    const subscription = subscribe(containerd, options, signal);
    const [namespace, ...more] = options.namespace ?? [];
    const whose = id === undefined ? "" : ` for ${more.length > 0 ? "" : `${namespace ?? "*"}/`}${id}`;
    printError(`subscribing to ${containerd}${whose}`);
    try {
      for await (const event of subscription) {
        if (id === undefined || concerns(event, id, shown)) await print(formatted(event, shown, options));
      }
    } finally {
      await subscription.close();
    }
  });
}

function subscribe(
  containerd: string,
  { topic, namespace, filter }: EventsOptions,
  signal: AbortSignal,
): EventSubscription {
  try {
    return subscribeEvents(containerd, {
      topics: topic,
      namespaces: namespace,
      filters: filter,
      signal,
      onGap: ({ dropped, error }) =>
        printError(
          error === undefined
            ? `${dropped} events were dropped, because the reader of stdout is slow`
            : text`events may be missing here: ${error.message}`,
        ),
    });
  } catch (error) {
    if (error instanceof TypeError) throw new UsageError(error.message);
    throw error;
  }
}

/**
 * The options with the namespace of the container, if it is there and the user named none. It may be still to come, so
 * its id is not completed: another container's may begin like it.
 */
function narrowed(id: string, options: EventsOptions): EventsOptions {
  if (options.namespace !== undefined) return options;
  let namespace: string | undefined;
  try {
    namespace = taskNamed(id, findTasks(placesIn(options).state))?.namespace;
  } catch (error) {
    if (error instanceof AmbiguousId) throw lookUpError(error);
    // containerd's events can be had without the right to read its state.
  }
  return namespace === undefined ? options : { ...options, namespace: [namespace] };
}

/** Whether an event is about a container or sandbox. */
function concerns({ topic, any }: ContainerdEvent, id: string, options: ToJsonOptions): boolean {
  try {
    const event = anyToJson(any, options);
    const isContainers = topic.startsWith("/containers/") || topic.startsWith("/sandbox");
    return event["containerId"] === id || event["sandboxId"] === id || (isContainers && event["id"] === id);
  } catch {
    return false;
  }
}

/** Only the owner may connect, as to containerd's own socket. */
const PRIVATE = 0o600;

function listen(address: string, { topic, namespace, forward }: EventsOptions): EventSink {
  try {
    const access = isAbstract(parseAddress(address)) ? { requireSameUser: true } : { mode: PRIVATE };
    const options = { topics: topic, namespaces: namespace, reclaimStale: true, ...access };
    return forward === undefined
      ? listenEvents(address, { ...options, acknowledge: "done" })
      : forwardEvents(address, forward, options);
  } catch (error) {
    if (error instanceof TypeError) throw new UsageError(error.message);
    const code = transportCode(error);
    if (code === undefined) throw error;
    throw listeningError(parseAddress(address).text, (error as Error).message, code);
  }
}

/** An event in one line; with its bytes if it cannot be formatted. */
function formatted(event: ContainerdEvent, shown: ToJsonOptions, { json }: EventsOptions): Text {
  try {
    return json ? jsonOf(event, shown) : lineOf(event, shown);
  } catch (error) {
    const { namespace, topic, type, any } = event;
    const raw = { timestamp: rawTime(event.timestamp), namespace, topic, type, ...rawOf(any.value, error) };
    return jsonLine(raw);
  }
}

function jsonOf({ timestamp, namespace, topic, any: event }: ContainerdEvent, shown: ToJsonOptions): Text {
  const envelope = create(EnvelopeSchema, { namespace, topic, event });
  const json = messageToJson(EnvelopeSchema, envelope, shown) as JsonMap;
  return jsonLine({ timestamp: timeOf(timestamp), ...json });
}

function lineOf({ timestamp, namespace, topic, type, any }: ContainerdEvent, options: ToJsonOptions): Text {
  const { "@type": _, ...event } = anyToJson(any, options);
  const time = timeOf(timestamp);
  // To the millisecond, if it is a valid time.
  const shown = typeof time === "string" ? timestampDate(timestamp).toISOString() : plainJson(time);
  const parts = [
    styled("dim", shown),
    namespace,
    styled("bold", topic),
    styled("dim", type),
    jsonLine(event),
  ];
  return Text.joined(parts, " ");
}

/** A timestamp as in protobuf's JSON; its two numbers if they are not a valid time. */
function timeOf(timestamp: Timestamp): Json {
  try {
    return toJson(TimestampSchema, timestamp);
  } catch {
    return rawTime(timestamp);
  }
}

function rawTime({ seconds, nanos }: Timestamp): Json {
  return { seconds: String(seconds), nanos };
}
