// Stands in for the publisher of ../events.
import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { packAny } from "../any.js";
import { createClient } from "../client.js";
import { connect } from "../connection.js";
import { Events } from "../events/index.js";

export interface Publisher {
  publish<Desc extends DescMessage>(
    topic: string,
    schema: Desc,
    message: MessageInitShape<Desc>,
  ): Promise<void>;
  close(): Promise<void>;
}

export function createPublisher(address: string, { namespace }: { namespace: string }): Publisher {
  let last: Promise<void> = Promise.resolve();
  return {
    publish(topic, schema, message) {
      const event = packAny(schema, message);
      const timestamp = timestampNow();
      const next = last.then(async () => {
        await using connection = await connect(address, { connectTimeoutMs: 5000 });
        await createClient(Events, connection).forward(
          { envelope: { timestamp, namespace, topic, event } },
          { timeoutMs: 5000, metadata: { "containerd-namespace-ttrpc": namespace } },
        );
      });
      last = next.catch(() => undefined);
      return next;
    },
    close: () => last,
  };
}
