import { create, type Registry } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import {
  type ContainerdEvent,
  EnvelopeSchema,
  type EventSink,
  forwardEvents,
  listenEvents,
} from "../../events/index.js";
import { withConnection } from "../connecting.js";
import { UsageError } from "../errors.js";
import { transportCode } from "../exit.js";
import { anyToJson, messageToJson } from "../json.js";
import { listeningError } from "../listening.js";
import { jsonLine } from "../output/json.js";
import { print, printError, styled } from "../output/stdout.js";
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

/** Takes events as containerd does, and prints them, until it is stopped. */
export async function events(address: string, options: EventsOptions): Promise<void> {
  const { forward, json } = options;
  const registry = await loadRegistry(options);
  // An event that containerd is not there to take would only be held up.
  if (forward !== undefined) await withConnection(forward, {}, async () => undefined);
  await untilStopped(async (signal) => {
    const sink = listen(address, options);
    signal.addEventListener("abort", () => void sink.close());
    if (signal.aborted) void sink.close();
    // Not on stdout, which is for events.
    printError(`listening on ${sink.address}${forward === undefined ? "" : `, passing on to ${forward}`}`);
    for await (const event of sink) await print(json ? jsonOf(event, registry) : lineOf(event, registry));
    await sink.close();
  });
}

/** For its user only, as containerd's own socket is. */
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

function jsonOf({ timestamp, namespace, topic, any: event }: ContainerdEvent, registry: Registry): string {
  const envelope = create(EnvelopeSchema, { timestamp, namespace, topic, event });
  return jsonLine(messageToJson(EnvelopeSchema, envelope, registry));
}

function lineOf({ timestamp, namespace, topic, type, any }: ContainerdEvent, registry: Registry): string {
  const { "@type": _, ...event } = anyToJson(any, registry);
  return [
    styled("dim", timestampDate(timestamp).toISOString()),
    namespace,
    styled("bold", topic),
    styled("dim", type),
    jsonLine(event),
  ].join(" ");
}
