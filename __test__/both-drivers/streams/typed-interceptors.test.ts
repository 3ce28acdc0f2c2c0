import { isMessage } from "@bufbuild/protobuf";
import {
  type ClientInterceptor,
  createClient,
  createContextKey,
  createContextValues,
  createServer,
  type ServerInterceptor,
} from "containerd-shim-protos";
import { StateRequestSchema, StateResponseSchema, Status, Task } from "containerd-shim-protos/task/v3";
import { expect, test } from "vitest";
import { pairWith } from "../../helpers/pair.js";

const key = createContextKey(0);

test("an interceptor has the descriptor and the types of its kind, and wraps streams without casts", async () => {
  const seen: string[] = [];
  const onClient: ClientInterceptor = (next) => async (call) => {
    call.contextValues.set(key, call.contextValues.get(key) + 1);
    seen.push(`${call.kind} ${call.descriptor.name} ${call.contextValues.get(key)}`);
    switch (call.kind) {
      case "unary": {
        const reply = await next(call);
        seen.push(reply.$typeName);
        return reply;
      }
      case "client_streaming":
        return next({ ...call, request: counted(call.request) });
      case "server_streaming":
      case "bidi_streaming":
        return counted(await next(call));
    }
  };
  async function* counted<T>(messages: AsyncIterable<T> | Iterable<T>): AsyncGenerator<T> {
    for await (const message of messages) yield message;
  }
  const onServer: ServerInterceptor = (next) => async (call) => {
    const { descriptor } = call;
    if (descriptor !== undefined) seen.push(descriptor.input.typeName, String(descriptor.idempotency));
    if (call.kind === "unary" || call.kind === "server_streaming") {
      if (isMessage(call.request, StateRequestSchema)) seen.push(call.request.id);
      return next(call);
    }
    return next({ ...call, request: counted(call.request) });
  };
  await using pair = await pairWith(
    createServer({ interceptors: [onServer] }).add(Task, {
      state: ({ id }) => ({ id, status: Status.RUNNING }),
    }),
  );
  const task = createClient(Task, pair.connection, { interceptors: [onClient] });
  const contextValues = createContextValues().set(key, 41);
  const reply = await task.state({ id: "web" }, { contextValues });
  expect(isMessage(reply, StateResponseSchema)).toBe(true);
  expect(contextValues.get(key)).toBe(42);
  expect(seen).toEqual([
    "unary State 42",
    "containerd.task.v3.StateRequest",
    "0",
    "web",
    "containerd.task.v3.StateResponse",
  ]);
});
