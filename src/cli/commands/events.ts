import { create, toJson } from "@bufbuild/protobuf";
import { type Timestamp, timestampDate, TimestampSchema } from "@bufbuild/protobuf/wkt";
import {
  type ContainerdEvent,
  EnvelopeSchema,
  type EventSink,
  forwardEvents,
  type EventSubscription,
  listenEvents,
  subscribeEvents,
} from "../../events/index.js";
import { parseAddress } from "../../address.js";
import { socketPath } from "../../server/socket-file.js";
import { AmbiguousId, findTaskById, isAddress } from "../../shims/target.js";
import { withConnection } from "../connecting.js";
import { UsageError } from "../errors.js";
import { transportCode } from "../describe-error.js";
import { anyToJson, messageToJson, type ToJsonOptions } from "../message-to-json.js";
import type { Json, JsonMap } from "../json-value.js";
import { listeningError, removedAtExit } from "../listening.js";
import { Feed } from "../output/feed.js";
import { jsonLine, plainJson } from "../output/json.js";
import { rawOf } from "../output/raw.js";
import { print, printError, styled } from "../output/stdout.js";
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
  await subscribeTo(target === undefined ? undefined : idOf(target, options), options, shown);
}

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
    printError(`listening on ${sink.address}${forward === undefined ? "" : `, passing on to ${forward}`}`);
    const feed = new Feed();
    try {
      for await (const event of sink) {
        const line = formatted(event, shown, options);
        // Events on their way to containerd must not wait for the reader of stdout.
        if (forward === undefined) await print(line);
        else feed.write(line);
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
    printError(`subscribing to ${containerd}`);
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

/** The id that a user means. It may be that of a container to come, so it need not be known. */
function idOf(given: string, { state, address, namespace }: EventsOptions): string {
  try {
    const only = namespace?.length === 1 ? namespace[0] : undefined;
    return findTaskById(given, { state: placesIn({ state, address }).state, namespace: only }).id;
  } catch (error) {
    if (error instanceof AmbiguousId) throw lookUpError(error);
    return given;
  }
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
  const options = { topics: topic, namespaces: namespace, mode: PRIVATE, reclaimStale: true };
  try {
    return forward === undefined ? listenEvents(address, options) : forwardEvents(address, forward, options);
  } catch (error) {
    if (error instanceof TypeError) throw new UsageError(error.message);
    const code = transportCode(error);
    if (code === undefined) throw error;
    throw listeningError((error as Error).message, code);
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
