import { parsed, time, whole } from "./options.js";
import { jsonOf, shownOf } from "./record.js";
import { Spool } from "./spool.js";

const USAGE = `query: reads the spool of this host, without NATS
  --spool FILE          the spool (default: fleet.db)
  --namespace NAME, --topic PREFIX, --container ID, --since TIME    only these
  --limit NUMBER        how many of the newest events to print (default: 100)
  --status              print what the spool holds instead`;

export async function run(args: string[]): Promise<void> {
  const options = parsed(
    USAGE,
    {
      spool: { type: "string", default: "fleet.db" },
      namespace: { type: "string" },
      topic: { type: "string" },
      container: { type: "string" },
      since: { type: "string" },
      limit: { type: "string", default: "100" },
      status: { type: "boolean" },
    },
    args,
  );
  const { namespace, topic, container, since } = options;
  const limit = whole("limit", options.limit);
  const spool = await Spool.read(options.spool);
  if (options.status === true) console.log(JSON.stringify(spool.status()));
  else {
    const filter = { namespace, topic, container, since: since === undefined ? undefined : time(since) };
    const records = spool.query({ ...filter, limit });
    const { host } = spool;
    for (const { envelope } of records) console.log(jsonOf(shownOf(host, envelope)));
  }
  spool.close();
}
