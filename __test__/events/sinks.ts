import { setImmediate as turn } from "node:timers/promises";
import { connect, createClient, packAny } from "containerd-shim-protos";
import {
  createPublisher,
  Events,
  type EventSinkOptions,
  listenEvents,
  TaskExitSchema,
} from "containerd-shim-protos/events";
import { temporaryAddress } from "../helpers/temp.js";

const stack = new Set<{ close(options?: { graceMs?: number }): Promise<void> }>();

/** Closes what the functions in this file opened. Runs after each test. */
export async function closeAll(): Promise<void> {
  await Promise.all([...stack].map((each) => each.close({ graceMs: 0 })));
  stack.clear();
}

/** A sink, and its address. */
export function sinkAt(options: EventSinkOptions = {}, address = temporaryAddress()) {
  const events = listenEvents(address, options);
  stack.add(events);
  return { events, address };
}

/** A publisher that does not report the events that it gave up. */
export function publisherTo(address: string, options: Partial<Parameters<typeof createPublisher>[1]> = {}) {
  const publisher = createPublisher(address, { namespace: "default", ...options });
  publisher.on("undelivered", () => undefined);
  stack.add(publisher);
  return publisher;
}

/** A connection. */
export async function connectionTo(address: string) {
  const connection = await connect(address);
  stack.add(connection);
  return connection;
}

/** A client of the service. */
export async function clientOf(address: string) {
  return createClient(Events, await connectionTo(address));
}

/** Whether a promise has settled by now. */
export const settled = async (promise: Promise<unknown>) => {
  const other = {};
  // Enough turns for anything that does not wait for a timer.
  for (let count = 0; count < 20; count++) await turn();
  return (await Promise.race([promise, Promise.resolve(other)])) !== other;
};

/** The fields of an envelope. */
export interface EnvelopeFields {
  namespace?: string;
  topic?: string;
  exitStatus?: number;
  type?: string;
  value?: Uint8Array;
  timestamp?: { seconds: bigint; nanos: number };
}

/** A valid envelope, except for the given fields. */
export function envelopeOf({
  namespace = "default",
  topic = "/tasks/exit",
  exitStatus = 0,
  type = TaskExitSchema.typeName as string,
  value = packAny(TaskExitSchema, { exitStatus }).value,
  timestamp = { seconds: 1n, nanos: 2 },
}: EnvelopeFields) {
  return { namespace, topic, timestamp, event: { typeUrl: type, value } };
}

/** A request with such an envelope. */
export function requestOf(fields: EnvelopeFields) {
  return { envelope: envelopeOf(fields) };
}
