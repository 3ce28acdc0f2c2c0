import { setTimeout as sleep } from "node:timers/promises";
import { DeliverPolicy } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { accessOf } from "./access.js";
import { connectNats, ensureStream, hostOf, subjectsOf } from "./nats.js";
import { NATS_OPTIONS, NATS_USAGE, parsed, time } from "./options.js";
import { jsonOf, type Shown, shownOf } from "./record.js";
import { alertOf, printable, Table } from "./table.js";

const USAGE = `watch: shows the events of all hosts, from NATS
  --host NAME, --namespace NAME, --topic TOPIC    only these; a topic that ends in / is a prefix
  --since TIME          the first event to show, such as 5m, 2h or an RFC 3339 time (default: now)
  --lines               print a line for each event, with alerts
  --json                print a line of JSON for each event
${NATS_USAGE}`;

export async function run(args: string[]): Promise<void> {
  const options = parsed(
    USAGE,
    {
      ...NATS_OPTIONS,
      host: { type: "string" },
      namespace: { type: "string" },
      topic: { type: "string" },
      since: { type: "string" },
      lines: { type: "boolean" },
      json: { type: "boolean" },
    },
    args,
  );
  if (options.nats === undefined) throw new Error("--nats is missing; `query` asks a spool without NATS");
  accessOf(options);
  const table = new Table();
  const show = (shown: Shown) => {
    if (options.json === true) console.log(jsonOf(shown));
    else if (options.lines === true) console.log(lineOf(shown));
    else table.add(shown);
  };
  const begin = options.since === undefined ? new Date() : time(options.since);
  /** The last message that was shown, from which a new connection continues. */
  let last: number | undefined;
  for (;;) {
    let connection: NatsConnection | undefined;
    try {
      connection = await connectNats(options, "fleet watch");
      const manager = await ensureStream(connection, options.stream);
      // A stream that was made anew counts anew.
      if ((await manager.streams.info(options.stream)).state.last_seq < (last ?? 0)) last = 0;
      const consumer = await manager.jetstream().consumers.get(options.stream, {
        filter_subjects: subjectsOf(options.host, options.namespace, options.topic),
        ...(last === undefined
          ? { deliver_policy: DeliverPolicy.StartTime, opt_start_time: begin.toISOString() }
          : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: last + 1 }),
      });
      const messages = await consumer.consume();
      // An ordered consumer would otherwise wait forever for a connection that does not come back.
      void connection.closed().then(() => messages.stop(new Error("the connection was lost")));
      for await (const message of messages) {
        last = message.seq;
        try {
          show(shownOf(hostOf(message.subject), message.data));
        } catch (error) {
          console.error(
            `message ${message.seq} of ${options.stream} is no event: ${(error as Error).message}`,
          );
        }
      }
    } catch (error) {
      console.error(`NATS: ${(error as Error).message}`);
    } finally {
      await connection?.close().catch(() => undefined);
    }
    await sleep(500);
  }
}

function lineOf(shown: Shown): string {
  const alert = alertOf(shown);
  const { at, host, namespace, topic } = shown;
  return printable(`${alert === undefined ? " " : "!"} ${at} ${host} ${namespace} ${topic} ${alert ?? ""}`);
}
