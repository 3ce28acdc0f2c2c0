import { isMessage } from "@bufbuild/protobuf";
import { createPublisher, listenEvents, TaskExitSchema } from "containerd-shim-protos/events";
import type { Contender } from "./event.js";
import { exitEvent } from "./event.js";

/** This package. */
export const contender: Contender = {
  async serve(path, take) {
    const events = listenEvents(path);
    const consume = async () => {
      for await (const { message } of events) {
        if (isMessage(message, TaskExitSchema)) take(message.exitStatus);
      }
    };
    return consume();
  },
  async publish(path, count, maxInFlight) {
    const maxQueuedEvents = maxInFlight * 4;
    const publisher = createPublisher(path, { namespace: "default", maxInFlight, maxQueuedEvents });
    for (let number = 0; number < count; number++) {
      if (publisher.queuedEvents === maxQueuedEvents) await publisher.ready();
      void publisher.publish("/tasks/exit", TaskExitSchema, exitEvent(number));
    }
    await publisher.close({ graceMs: 60_000 });
  },
};
