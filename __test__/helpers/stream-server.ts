import {
  type Code,
  createServer,
  type HandlerContext,
  packAny,
  type Server,
  type ServerOptions,
  type ServiceImpl,
  TtrpcError,
} from "containerd-shim-protos";
import { aborted } from "./outcome.js";
import { type EchoPayload, EchoPayloadSchema, NULL_TEXT, Streaming, Streams } from "./streaming.js";

/** The same streaming service as the peers in Go and Rust have. */
export const streaming: ServiceImpl<typeof Streaming> = {
  echo: ({ seq, msg }) => ({ seq: seq + 1, msg }),
  async *echoStream(requests) {
    for await (const { seq, msg } of requests) yield { seq: seq + 1, msg };
  },
  async sumStream(requests) {
    let [sum, num] = [0, 0];
    for await (const { add } of requests) {
      sum += add;
      num++;
    }
    return { sum, num };
  },
  async *divideStream({ sum, num }) {
    let rest = sum;
    for (let add = 0; add < num - 1; add++) {
      rest -= add;
      yield { add };
    }
    yield { add: rest };
  },
  async echoNull(requests) {
    for await (const _ of checkedNulls(requests));
    return {};
  },
  async *echoNullStream(requests) {
    for await (const _ of checkedNulls(requests)) for (let i = 0; i < 10; i++) yield {};
  },
  async *emptyPayloadStream() {
    yield { seq: 1 };
    yield { seq: 2 };
  },
};

/** The methods that the streaming service lacks, as in the peers. */
export const streams: ServiceImpl<typeof Streams> = {
  describe: (_, context) => description(context),
  large: ({ sum }) => ({ msg: "a".repeat(sum) }),
  async *describeStream(_, context) {
    yield description(context);
  },
  async *count({ sum, num }) {
    const msg = "a".repeat(sum);
    for (let seq = 0; seq < num; seq++) yield { seq, msg };
  },
  async *fail(requests) {
    for await (const request of requests) {
      yield request;
      const details = [packAny(EchoPayloadSchema, request)];
      throw new TtrpcError(request.msg, request.seq as Code, { details });
    }
  },
  async *hang(request, context) {
    yield request;
    await aborted(context.signal);
  },
};

/** Our server with both services. */
export function streamServer(options?: ServerOptions): Server {
  return createServer(options).add(Streaming, streaming).add(Streams, streams);
}

async function* checkedNulls(requests: AsyncIterable<EchoPayload>): AsyncGenerator<number> {
  let expected = 0;
  for await (const { seq, msg } of requests) {
    if (seq !== expected || msg !== NULL_TEXT) {
      throw new Error(`unexpected ${JSON.stringify(msg)} with the number ${seq}, expected ${expected}`);
    }
    yield expected++;
  }
}

function description({ metadata, timeoutMs }: HandlerContext) {
  return { msg: JSON.stringify({ metadata, timeoutMs: Math.round(timeoutMs ?? 0) }) };
}
