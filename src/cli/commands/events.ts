import { create, type Registry, toJson } from "@bufbuild/protobuf";
import { type Timestamp, timestampDate, TimestampSchema } from "@bufbuild/protobuf/wkt";
import {
  type ContainerdEvent,
  EnvelopeSchema,
  type EventSink,
  forwardEvents,
  listenEvents,
} from "../../events/index.js";
import { withConnection } from "../connecting.js";
import { UsageError } from "../errors.js";
import { transportCode } from "../describe-error.js";
import { anyToJson, messageToJson } from "../message-to-json.js";
import type { Json, JsonMap } from "../json-value.js";
import { listeningError } from "../listening.js";
import { Feed } from "../output/feed.js";
import { jsonLine, plainJson } from "../output/json.js";
import { rawOf } from "../output/raw.js";
import { print, printError, styled } from "../output/stdout.js";
import { Text } from "../output/text.js";
import type { SchemaOptions } from "../schema/options.js";
import { loadRegistry } from "../schema/schema.js";
import { untilStopped } from "../signals.js";

/** The options of `shimctl events`. */
export interface EventsOptions extends SchemaOptions {
  readonly topic?: readonly string[];
  readonly namespace?: readonly string[];
  readonly forward?: string;
  readonly json?: boolean;
}

/** Receives events as containerd does, and prints them until it is stopped. */
export async function events(address: string, options: EventsOptions): Promise<void> {
  const { forward } = options;
  const registry = await loadRegistry(options);
  // Without containerd, events would only be held up, so this fails at once.
  if (forward !== undefined) await withConnection(forward, {}, async () => undefined);
  await untilStopped(async (signal) => {
    const sink = listen(address, options);
    signal.addEventListener("abort", () => void sink.close());
    if (signal.aborted) void sink.close();
    // Not on stdout, which is for events.
    printError(`listening on ${sink.address}${forward === undefined ? "" : `, passing on to ${forward}`}`);
    const feed = new Feed();
    try {
      for await (const event of sink) {
        const line = formatted(event, registry, options);
        // Events on their way to containerd must not wait for the reader of stdout.
        if (forward === undefined) await print(line);
        else feed.write(line);
      }
    } finally {
      // However the loop ended: an event that nobody reads must not be accepted.
      await sink.close();
      feed.end();
    }
  });
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
function formatted(event: ContainerdEvent, registry: Registry, { json }: EventsOptions): Text {
  try {
    return json ? jsonOf(event, registry) : lineOf(event, registry);
  } catch (error) {
    const { namespace, topic, type, any } = event;
    const raw = { timestamp: rawTime(event.timestamp), namespace, topic, type, ...rawOf(any.value, error) };
    return jsonLine(raw);
  }
}

function jsonOf({ timestamp, namespace, topic, any: event }: ContainerdEvent, registry: Registry): Text {
  const envelope = create(EnvelopeSchema, { namespace, topic, event });
  const json = messageToJson(EnvelopeSchema, envelope, registry) as JsonMap;
  return jsonLine({ timestamp: timeOf(timestamp), ...json });
}

function lineOf({ timestamp, namespace, topic, type, any }: ContainerdEvent, registry: Registry): Text {
  const { "@type": _, ...event } = anyToJson(any, registry);
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
