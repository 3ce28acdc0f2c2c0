import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { TtrpcError } from "containerd-shim-protos";
import {
  type ContainerdEvent,
  type EventGap,
  forwardEvents,
  listenEvents,
  subscribeEvents,
} from "containerd-shim-protos/events";
import { accessOf } from "./access.js";
import { Bridge } from "./bridge.js";
import { bytes, NATS_OPTIONS, NATS_USAGE, parsed } from "./options.js";
import { gapRecord, type Record, recordOf, shownOf } from "./record.js";
import { Spool } from "./spool.js";
import { Table } from "./table.js";

const USAGE = `collect: takes the events of this host, keeps them in a spool, and publishes them to NATS
  --subscribe SOCKET    containerd's gRPC socket (default without --listen: /run/containerd/containerd.sock)
  --listen ADDRESS      where shims publish; with --containerd ADDRESS, everything is forwarded there
  --spool FILE          a SQLite database (default: fleet.db)
  --max-bytes BYTES     the limit of the spool (default: 256MiB)
  --when-full RULE      wait, or drop the oldest unpublished events (default: wait)
  --host NAME           the name of this host (default: its hostname)
  --watch               also show a table of tasks
${NATS_USAGE}
Without --nats it only fills the spool.`;

export async function run(args: string[]): Promise<void> {
  const options = parsed(
    USAGE,
    {
      ...NATS_OPTIONS,
      subscribe: { type: "string" },
      listen: { type: "string" },
      containerd: { type: "string" },
      spool: { type: "string", default: "fleet.db" },
      "max-bytes": { type: "string", default: "256MiB" },
      "when-full": { type: "string", default: "wait" },
      host: { type: "string", default: hostname() },
      watch: { type: "boolean" },
    },
    args,
  );
  const { host, listen, containerd, nats } = options;
  // What is wrong with them is said at once, not at each attempt to connect.
  accessOf(options);
  const rule = options["when-full"];
  if (rule !== "wait" && rule !== "drop") throw new Error("--when-full is wait or drop");
  const spool = await Spool.open(
    options.spool,
    bytes(options["max-bytes"]),
    nats === undefined ? "forget" : rule,
  );
  spool.host = host;
  const bridge = nats === undefined ? undefined : new Bridge(spool, host, options);
  const table = options.watch === true ? new Table() : undefined;
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());

  /** Writes records in one transaction, unless the spool is full. */
  const write = (records: readonly Record[]): boolean => {
    if (!spool.append(records)) return false;
    bridge?.wake();
    for (const { envelope } of records) table?.add(shownOf(host, envelope));
    return true;
  };

  /** The next batch is asked for when the last is written, which acknowledges that one as a whole. */
  async function take(batches: AsyncIterable<ContainerdEvent[]>): Promise<void> {
    for await (const batch of batches) {
      const records = batch.map((event) => recordOf(host, event));
      if (write(records)) continue;
      console.error("the spool or its disk is full; events wait");
      // Meanwhile nothing is acknowledged.
      do await sleep(100, undefined, { signal: stop.signal });
      while (!write(records));
    }
  }

  const loops: Promise<void>[] = [];
  if (listen !== undefined) {
    const sink = { acknowledge: "done", reclaimStale: true, mode: 0o600 } as const;
    const events =
      containerd === undefined ? listenEvents(listen, sink) : forwardEvents(listen, containerd, sink);
    stop.signal.addEventListener("abort", () => void events.close());
    loops.push(take(events.batches()));
  }
  const socket = options.subscribe ?? (listen === undefined ? "/run/containerd/containerd.sock" : undefined);
  if (socket !== undefined) {
    // The events before a gap are written when it is reported, so it takes its place behind them.
    const onGap = (gap: EventGap) => {
      if (!write([gapRecord(host, gap)]))
        console.error(`a full spool has no room for the gap since ${gap.since.toISOString()}`);
    };
    // What happened before this collector was started is unknown.
    onGap({ since: new Date(0), dropped: 0, error: new TtrpcError("the collector was started") });
    const events = subscribeEvents(socket, { onGap, signal: stop.signal });
    loops.push(take(events.batches()));
  }
  const publishing = bridge?.run();
  console.log("collecting");
  try {
    await Promise.all(loops);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  } finally {
    bridge?.stop();
    await publishing;
    spool.close();
  }
}
