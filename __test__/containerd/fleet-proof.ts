import { fromBinary } from "@bufbuild/protobuf";
import { unpackAny } from "containerd-shim-protos";
import { createPublisher, EnvelopeSchema, TaskExitSchema } from "containerd-shim-protos/events";

/** Publishes a shim's events, which are numbered, until each is acknowledged; calls back for each that is. */
export async function publishShim(
  address: string,
  namespace: string,
  shim: number,
  { from = 0, to }: { from?: number; to: number },
  acknowledged?: () => void,
): Promise<void> {
  const publisher = createPublisher(address, {
    namespace,
    retryForMs: Number.POSITIVE_INFINITY,
    maxQueuedEvents: 1000,
  });
  for (let pid = from; pid < to; pid++) {
    await publisher.ready();
    const event = { containerId: `shim-${shim}`, id: "x".repeat(40), pid };
    void publisher.publish("/tasks/exit", TaskExitSchema, event).then(acknowledged);
  }
  await publisher.close({ graceMs: 600_000 });
}

/** A message of the stream. */
interface Stored {
  readonly subject: string;
  readonly data: Uint8Array;
}

/**
 * The proof: each event of each shim is in the stream once, and in order. Rejects with what is wrong. Only namespaces that
 * begin with `host-` count.
 */
export async function proveOnce(
  messages: AsyncIterable<Stored>,
  { shims, each }: { shims: number; each: number },
): Promise<void> {
  const next = new Map<string, number>();
  for await (const { subject, data } of messages) {
    const { namespace, event } = fromBinary(EnvelopeSchema, data);
    if (!namespace.startsWith("host-")) continue;
    const exit = event && unpackAny(event, TaskExitSchema);
    if (exit === undefined) throw new Error(`${namespace} has an event of another type`);
    const shim = `${namespace} ${exit.containerId}`;
    const expected = next.get(shim) ?? 0;
    if (exit.pid < expected) throw new Error(`${shim}: event ${exit.pid} is repeated, or out of order`);
    if (exit.pid > expected) throw new Error(`${shim}: event ${expected} is missing before ${exit.pid}`);
    if (!subject.endsWith(`.${namespace}.tasks.exit`)) throw new Error(`${shim}: its subject is ${subject}`);
    next.set(shim, expected + 1);
  }
  if (next.size !== shims) throw new Error(`events of ${next.size} shims are there, not of ${shims}`);
  for (const [shim, count] of next) if (count !== each) throw new Error(`${shim}: event ${count} is missing`);
}
