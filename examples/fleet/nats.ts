import {
  DiscardPolicy,
  type JetStreamManager,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
} from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { accessOf, type AccessOptions } from "./access.js";

export interface NatsOptions extends AccessOptions {
  readonly stream: string;
}

const PREFIX = "containerd";
const DAY_NS = 86_400_000_000_000;

/** Connects once: whoever publishes must know what became of its messages before it comes back. */
export function connectNats(options: NatsOptions, name: string): Promise<NatsConnection> {
  // The files are read for each connection, so that a new certificate or password needs no restart.
  const servers = (options.nats ?? "").split(",");
  return connect({ ...accessOf(options), servers, name, reconnect: false });
}

/**
 * Makes the stream if it is not there: a week of events, and ids for half a minute. Whoever made it before decides about
 * its limits and copies.
 */
export async function ensureStream(connection: NatsConnection, name: string): Promise<JetStreamManager> {
  const manager = await jetstreamManager(connection);
  try {
    await manager.streams.info(name);
  } catch {
    await manager.streams.add({
      name,
      subjects: [`${PREFIX}.>`],
      retention: RetentionPolicy.Limits,
      storage: StorageType.File,
      discard: DiscardPolicy.Old,
      max_age: 7 * DAY_NS,
      duplicate_window: 30_000_000_000,
    });
  }
  return manager;
}

/** One token of a subject: what NATS gives a meaning, or does not allow, is escaped. */
function token(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9_-]/g, (character) =>
    [...Buffer.from(character)].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join(""),
  );
}

const topicTokens = (topic: string) => topic.split("/").filter(Boolean).map(token).join(".");

/** `containerd.HOST.NAMESPACE.TOPIC`, such as `containerd.node-1.k8s%2eio.tasks.exit`. */
export function subjectOf(host: string, namespace: string, topic: string): string {
  return [PREFIX, token(host), token(namespace), topicTokens(topic)].join(".");
}

/** The subjects of some of the events. A topic that ends in "/" is a prefix, any other is meant exactly. */
export function subjectsOf(host?: string, namespace?: string, topic = "/"): string {
  const [first, second] = [host, namespace].map((text) => (text === undefined ? "*" : token(text)));
  const end = topic.endsWith("/") ? [">"] : [];
  return [PREFIX, first, second, topicTokens(topic), ...end].filter(Boolean).join(".");
}

/** The host in a subject. */
export function hostOf(subject: string): string {
  return decodeURIComponent(subject.split(".")[1] ?? "");
}
