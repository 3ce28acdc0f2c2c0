/**
 * containerd's events: a server that receives them, a publisher, a forwarder between shims and containerd, a subscription
 * to containerd, the Events service, every event message, and the topics that shims publish under.
 *
 * ```ts
 * import { isMessage } from "@bufbuild/protobuf";
 * import { listenEvents, TaskExitSchema } from "containerd-shim-protos/events";
 *
 * for await (const { namespace, message } of listenEvents("unix:///run/my-events.sock")) {
 *   if (isMessage(message, TaskExitSchema)) console.log(namespace, message.containerId, message.exitStatus);
 * }
 * ```
 *
 * @module
 */

/// <reference types="node" preserve="true" />

export * from "../protos/events.js";
export type { ContainerdEvent } from "./event.js";
export { forwardEvents } from "./forwarder.js";
export {
  createPublisher,
  Publisher,
  type PublisherEvents,
  type PublisherOptions,
  type PublishOptions,
  type Undelivered,
} from "./publisher.js";
export { EventSink, listenEvents } from "./sink.js";
export type { EventCounts, EventSinkOptions } from "./sink-options.js";
export { EventSubscription, subscribeEvents } from "./subscribe.js";
export type { EventGap, SubscribeOptions, SubscriptionCounts } from "./subscribe-options.js";
