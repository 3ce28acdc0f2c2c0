import { parseArgs } from "node:util";
import {
  type EventSink,
  type EventSinkOptions,
  forwardEvents,
  listenEvents,
} from "containerd-shim-protos/events";

/**
 * Receives events on `--listen`. With `--containerd`, it passes them on to that address, so the program can stand in front
 * of a containerd. A shim publishes to the address in its TTRPC_ADDRESS.
 */
export function eventsFromArguments(options: EventSinkOptions): EventSink {
  const { values } = parseArgs({
    options: {
      listen: { type: "string", default: "unix:///tmp/events.sock" },
      containerd: { type: "string" },
      database: { type: "string" },
    },
  });
  const all = { reclaimStale: true, mode: 0o600, ...options };
  const { listen, containerd } = values;
  const events =
    containerd === undefined ? listenEvents(listen, all) : forwardEvents(listen, containerd, all);
  console.log(`listening on ${events.address}`);
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void events.close());
  return events;
}
