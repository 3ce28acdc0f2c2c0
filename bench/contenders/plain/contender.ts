import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { EmptySchema } from "@bufbuild/protobuf/wkt";
import { ForwardRequestSchema } from "containerd-shim-protos/events";
import { EVENTS, SERVICE } from "../../job.js";
import type { Contender } from "../contender.js";
import { eventOf, handlers } from "../handlers.js";
import { PlainClient } from "./client.js";
import { servePlain } from "./server.js";
import { requestPrefix } from "./wire.js";

/** Plain JavaScript over node:net, with protobuf-es for messages. */
export const plain: Contender = {
  async connect(path) {
    const client = await PlainClient.connect(path);
    const [echo, sink, source, chat] = ["Echo", "Sink", "Source", "Chat"].map((method) =>
      requestPrefix(SERVICE, method),
    ) as [Buffer, Buffer, Buffer, Buffer];
    const forward = requestPrefix(EVENTS, "Forward");
    return {
      unary: (payload) => client.unary(echo, payload),
      forward: async (index) => {
        const request = toBinary(ForwardRequestSchema, create(ForwardRequestSchema, eventOf(index)));
        return fromBinary(EmptySchema, await client.unary(forward, request));
      },
      sink: (messages) => client.clientStreaming(sink, messages),
      source: (request) => client.serverStreaming(source, request),
      chat: (messages) => client.bidiStreaming(chat, messages),
      close: () => client.close(),
    };
  },
  async serve(path) {
    await servePlain(path, {
      [`${SERVICE}/Echo`]: { kind: "unary", handle: handlers.echo },
      [`${SERVICE}/Sink`]: { kind: "client_streaming", handle: handlers.sink },
      [`${SERVICE}/Source`]: { kind: "server_streaming", handle: handlers.source },
      [`${SERVICE}/Chat`]: { kind: "bidi_streaming", handle: handlers.chat },
      [`${EVENTS}/Forward`]: {
        kind: "unary",
        handle: (payload) =>
          toBinary(
            EmptySchema,
            create(EmptySchema, handlers.ingest(fromBinary(ForwardRequestSchema, payload))),
          ),
      },
    });
  },
};
