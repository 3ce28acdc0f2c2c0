import type { Publisher } from "../events/index.js";
import type { ShimLog } from "./log.js";
import type { ShimContext } from "./options.js";

/** The `publish` of a shim's context. Events that cannot be sent or delivered are logged. */
export function publishFor(publisher: Publisher, log: ShimLog): ShimContext["publish"] {
  publisher.on("undelivered", ({ event, error }) =>
    log.error("an event was lost", { topic: event.topic, error }),
  );
  return (topic, schema, message) => {
    publisher.publish(topic, schema, message).catch((error: unknown) => {
      // Lost events are logged above; this one was never sent.
      if (error instanceof TypeError) log.error("an event cannot be sent", { topic, error });
    });
  };
}
