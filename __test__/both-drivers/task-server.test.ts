import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { Code, createServer, type HandlerContext, packAny, TtrpcError } from "containerd-shim-protos";
import { Events, ForwardRequestSchema, TaskStartSchema } from "containerd-shim-protos/events";
import { describe, expect, test } from "vitest";
import { aborted, deferred, hex, unhex } from "../helpers/outcome.js";
import { describeWithPeer, peerCalls, PeerClient } from "../helpers/peer.js";
import { handlersOf, REPLIES, type Seen } from "../helpers/task-server.js";
import { type MethodName, METHODS, methodOf, requestsOf, VERSIONS } from "../helpers/tasks.js";
import { temporaryAddress } from "../helpers/temp.js";

const ID = "container-1";
/** What the Rust client sends along with every call. */
const METADATA = { "key-1": ["value-1-1", "value-1-2"], "key-2": ["value-2"] };

describe.each(VERSIONS)("$version", ({ version, api }) => {
  describeWithPeer("a Task server with a Rust client", () => {
    test("gets every request as it was sent, and its replies arrive as they were given", async () => {
      const seen: Seen[] = [];
      await using server = createServer().add(api.Task, handlersOf(seen));
      const address = await server.listen(temporaryAddress());

      const calls = await peerCalls(address, { task: version, id: ID });

      expect(calls.map((call) => call.method).toSorted()).toEqual(
        api.Task.methods.map((method) => method.name).toSorted(),
      );
      for (const [index, call] of calls.entries()) {
        const method = api.Task.methods.find(({ name }) => name === call.method)!;
        const name = method.localName as MethodName;
        expect(seen[index]?.name).toBe(name);
        expect(seen[index]?.request).toEqual(create(method.input, requestsOf(ID)[name]));
        expect(seen[index]?.request).toEqual(fromBinary(method.input, unhex(call.request)));
        expect(call).toEqual({
          method: method.name,
          request: call.request,
          response: hex(toBinary(method.output, create(method.output, REPLIES[name]))),
        });
      }
      expect(seen).toHaveLength(17);
    });

    test("gives a handler the metadata, the deadline, the peer and the connection of a request", async () => {
      const seen: Seen[] = [];
      await using server = createServer().add(api.Task, handlersOf(seen));
      const address = await server.listen(temporaryAddress());
      const before = Date.now();
      await using first = new PeerClient(address, { task: version, timeoutMs: 60_000 });
      await first.calls();
      await peerCalls(address, { task: version, only: "State", timeoutMs: 0 });

      const contexts = seen.map(({ context }) => context);
      const [onFirst, other] = [contexts.slice(0, 17), contexts[17]!];
      for (const [index, context] of onFirst.entries()) {
        expect(context.service).toBe(api.Task.typeName);
        expect(context.method).toBe(methodOf(api, seen[index]!.name).name);
        expect(context.metadata).toEqual(METADATA);
        expect(context.timeoutMs).toBe(60_000);
        const started = context.deadline!.getTime() - 60_000;
        expect(started).toBeGreaterThanOrEqual(before);
        expect(started).toBeLessThanOrEqual(Date.now());
        expect(context.peer).toEqual({
          pid: first.pid,
          uid: process.getuid!(),
          gid: process.getgid!(),
        });
        expect(context.connection).toBe(onFirst[0]!.connection);
        expect(context.connection.peer).toBe(context.peer);
        expect(context.signal.aborted).toBe(false);
      }
      expect(other.connection).not.toBe(onFirst[0]!.connection);
      expect(other.connection.id).not.toBe(onFirst[0]!.connection.id);
      expect(other.peer?.pid).not.toBe(first.pid);
      expect(other.timeoutMs).toBeUndefined();
      expect(other.deadline).toBeUndefined();
    });

    test("sends each status code with message and details as its handler threw it", async () => {
      const details = [
        packAny(TaskStartSchema, { containerId: "c", pid: 3 }),
        create(AnySchema, { typeUrl: "example.com/x.Y", value: new Uint8Array([1, 0, 255]) }),
      ];
      const codes = new Map(METHODS.slice(0, 16).map((name, index) => [name, index + 1]));
      const handlers = handlersOf([], (name) => {
        throw new TtrpcError(`${name} fails: ü€😀`, codes.get(name), { details, cause: new Error("here") });
      });
      await using server = createServer().add(api.Task, handlers);
      const calls = await peerCalls(await server.listen(temporaryAddress()), { task: version });

      const expected = METHODS.map((name) => ({
        method: methodOf(api, name).name,
        error: {
          kind: "status",
          // The 17th sets no code, so it is Unknown.
          code: codes.get(name) ?? 2,
          message: `${name} fails: ü€😀`,
          details: details.map(({ typeUrl, value }) => ({ type_url: typeUrl, value: hex(value) })),
        },
      }));
      const outcomes = calls.map(({ method, error }) => ({ method, error }));
      const byMethod = (a: { method: string }, b: { method: string }) => a.method.localeCompare(b.method);
      expect(outcomes.toSorted(byMethod)).toEqual(expected.toSorted(byMethod));
    });

    test.each([
      ["an Error", new RangeError("beyond the end"), "beyond the end"],
      ["a text", "no error at all", "no error at all"],
      ["a number", 42, "42"],
      ["undefined", undefined, "undefined"],
      ["null", null, "null"],
      ["a symbol", Symbol("s"), "Symbol(s)"],
    ])("sends %s that its handler threw as UNKNOWN", async (_, thrown, message) => {
      await using server = createServer().add(api.Task, {
        state() {
          throw thrown;
        },
      });
      const address = await server.listen(temporaryAddress());
      const [call] = await peerCalls(address, { task: version, only: "State" });
      expect(call?.error).toEqual({ kind: "status", code: Code.Unknown, message, details: [] });
    });

    test("answers UNIMPLEMENTED for each method without a handler", async () => {
      await using server = createServer().add(api.Task, { connect: () => ({ version: "only" }) });
      const calls = await peerCalls(await server.listen(temporaryAddress()), { task: version });
      const codes = Object.fromEntries(calls.map(({ method, error }) => [method, error?.code]));
      const expected = api.Task.methods.map(({ name }) => [name, Code.Unimplemented]);
      expect(codes).toEqual({ ...Object.fromEntries(expected), Connect: undefined });
    });

    test("answers UNIMPLEMENTED for a service that it lacks, and the connection continues", async () => {
      const other = VERSIONS.find((candidate) => candidate.version !== version)!;
      await using server = createServer().add(other.api.Task, handlersOf([]));
      const address = await server.listen(temporaryAddress());

      const calls = await peerCalls(address, { task: version });
      expect(calls.map(({ error }) => error?.code)).toEqual(METHODS.map(() => Code.Unimplemented));
      expect(calls[0]?.error?.message).toContain(api.Task.typeName);

      const [served] = await peerCalls(address, { task: other.version, only: "Connect" });
      expect(served?.error).toBeUndefined();
    });

    test.each([
      "containerd.task.v9.Task service does not exist",
      "message length 4194305 exceed maximum message size of 4194304",
    ])("leaves a handler's own INVALID_ARGUMENT alone, even if it says '%s'", async (message) => {
      const state = () => Promise.reject(new TtrpcError(message, Code.InvalidArgument));
      await using server = createServer().add(api.Task, { state });
      const address = await server.listen(temporaryAddress());
      const [call] = await peerCalls(address, { task: version, only: "State" });
      expect(call?.error).toMatchObject({ kind: "status", code: Code.InvalidArgument, message });
    });

    test("aborts a handler's signal at the deadline, and the connection continues", async () => {
      const late = deferred<HandlerContext>();
      await using server = createServer().add(api.Task, {
        ...handlersOf([]),
        async wait(_, context) {
          late.resolve(context);
          await aborted(context.signal);
          return { exitStatus: 1 };
        },
        // The client moves on to this call by its own clock, which is a little ahead of the server's.
        async delete() {
          await aborted((await late.promise).signal);
          return REPLIES.delete;
        },
      });
      const address = await server.listen(temporaryAddress());
      const calls = await peerCalls(address, { task: version, timeoutMs: 200 });

      // The error depends on which came first, the client's deadline or the server's answer.
      const failed = calls.filter(({ error }) => error !== undefined);
      expect(failed.map(({ method }) => method)).toEqual(["Wait"]);
      expect(failed[0]?.error?.code).toBeOneOf([Code.DeadlineExceeded, null]);
      const { timeoutMs, signal } = await late.promise;
      expect(timeoutMs).toBe(200);
      expect(signal.reason).toBeInstanceOf(TtrpcError);
      expect(signal.reason).toMatchObject({ code: Code.DeadlineExceeded });
    });

    test("aborts a handler's signal with Canceled when the client is killed", async () => {
      const context = deferred<HandlerContext>();
      const finish = deferred();
      await using server = createServer().add(api.Task, {
        async wait(_, its) {
          context.resolve(its);
          await finish.promise;
          return {};
        },
        connect: () => REPLIES.connect,
      });
      const address = await server.listen(temporaryAddress());
      await using client = new PeerClient(address, { task: version, only: "Wait", timeoutMs: 0 });
      const { signal } = await context.promise;
      expect(signal.aborted).toBe(false);

      await client.kill();
      const reason = await aborted(signal);
      expect(reason).toBeInstanceOf(TtrpcError);
      expect(reason).toMatchObject({ code: Code.Canceled });

      // A reply that nobody waits for is dropped, and the next client is served.
      finish.resolve();
      const [call] = await peerCalls(address, { task: version, only: "Connect" });
      expect(call?.error).toBeUndefined();
    });
  });
});

describeWithPeer("a server of several services on one socket", () => {
  test("serves both versions of Task and Events", async () => {
    const seen: Record<string, Seen[]> = {};
    const envelopes: unknown[] = [];
    await using server = createServer();
    for (const { version, api } of VERSIONS) {
      server.add(api.Task, handlersOf((seen[version] = [])));
    }
    server.add(Events, {
      forward(request) {
        envelopes.push(request);
        return {};
      },
    });
    const address = await server.listen(temporaryAddress());

    for (const { version, api } of VERSIONS) {
      const calls = await peerCalls(address, { task: version });
      expect(calls.filter(({ error }) => error !== undefined)).toEqual([]);
      expect(seen[version]?.map(({ context }) => context.service)).toEqual(
        METHODS.map(() => api.Task.typeName),
      );
    }
    const [forward] = await peerCalls(address, { only: "Forward", id: "web" });
    expect(forward).toMatchObject({ method: "Forward", response: "" });
    expect(envelopes).toEqual([
      create(ForwardRequestSchema, {
        envelope: {
          timestamp: { seconds: 1_700_000_003n, nanos: 5 },
          namespace: "namespace-1",
          topic: "/tasks/start",
          event: packAny(TaskStartSchema, { containerId: "web", pid: 7 }),
        },
      }),
    ]);
  });
});
