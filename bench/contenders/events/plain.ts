import { PlainClient } from "../plain/client.js";
import { servePlain } from "../plain/server.js";
import { requestPrefix } from "../plain/wire.js";
import { type Contender, decodeRequest, encodeRequest, exitStatusOf, inOrder } from "./event.js";

const SERVICE = "containerd.services.events.ttrpc.v1.Events";
const NOTHING = new Uint8Array(0);

/** ttrpc in plain JavaScript over node:net, and protobuf-es. */
export const contender: Contender = {
  async serve(path, take) {
    const handle = (payload: Uint8Array) => {
      take(exitStatusOf(decodeRequest(payload)));
      return NOTHING;
    };
    await servePlain(path, { [`${SERVICE}/Forward`]: { kind: "unary", handle } });
    return new Promise(() => {});
  },
  async publish(path, count, inflight) {
    const client = await PlainClient.connect(path);
    const prefix = requestPrefix(SERVICE, "Forward");
    await inOrder(count, inflight, (number) => client.unary(prefix, encodeRequest(number)));
    client.close();
  },
};
