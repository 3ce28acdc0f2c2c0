import { parseArgs } from "node:util";
import {
  type EventSink,
  type EventSinkOptions,
  forwardEvents,
  listenEvents,
} from "containerd-shim-protos/events";

/**
 * Takes events on `--listen`; with `--containerd`, passes them on to it, so that it can be put before a containerd.
 * A shim publishes to whatever its TTRPC_ADDRESS says.
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
