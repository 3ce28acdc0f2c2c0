import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { AnySchema, timestampFromDate, timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  type Client,
  Code,
  connect,
  type Connection,
  createClient,
  packAny,
  unpackAny,
} from "containerd-shim-protos";
import { MetricsSchema } from "containerd-shim-protos/cgroups/v1";
import {
  Events,
  ForwardRequestSchema,
  TASK_START_EVENT_TOPIC,
  TaskExitSchema,
  TaskStartSchema,
} from "containerd-shim-protos/events";
import { Status, Task as TaskV2 } from "containerd-shim-protos/task/v2";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ProcessDetailsSchema } from "../../src/protos/generated/containerd/runc/v1/oci_pb.js";
import { bytes, failure, hex } from "../helpers/outcome.js";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import {
  callMethod,
  EXEC_ID,
  METHODS,
  methodOf,
  type Replies,
  requestsOf,
  type TaskApi,
  VERSIONS,
} from "../helpers/tasks.js";

const ID = "container-1";

/** The Rust server's answers to requests with this id, as in its answers.rs. */
function answersOf(peer: Peer, version: string): Replies {
  const both = ID.length + EXEC_ID.length;
  return {
    state: {
      id: ID,
      bundle: `/bundle/${ID}`,
      pid: 4242,
      status: Status.RUNNING,
      stdin: `/stdin/${ID}`,
      stdout: `/stdout/${ID}`,
      stderr: `/stderr/${ID}`,
      terminal: true,
      exitStatus: 7,
      exitedAt: { seconds: 1_700_000_000n, nanos: 123_456_789 },
      execId: EXEC_ID,
    },
    create: { pid: 1000 + ID.length },
    start: { pid: 2000 + both },
    delete: {
      pid: 3000 + both,
      exitStatus: 137,
      exitedAt: { seconds: 1_700_000_001n, nanos: 987_654_321 },
    },
    pids: {
      processes: [
        { pid: 4000 + ID.length },
        { pid: 4001 + ID.length, info: packAny(ProcessDetailsSchema, { execId: ID }) },
      ],
    },
    pause: {},
    resume: {},
    checkpoint: {},
    kill: {},
    exec: {},
    resizePty: {},
    closeIO: {},
    update: {},
    wait: { exitStatus: 100 + both, exitedAt: { seconds: 1_700_000_002n, nanos: 1 } },
    stats: {
      stats: packAny(MetricsSchema, { pids: { current: BigInt(ID.length), limit: 2n ** 64n - 1n } }),
    },
    connect: { shimPid: peer.pid, taskPid: 5000 + ID.length, version: `peer-${version}` },
    shutdown: {},
  };
}

describe.each(VERSIONS)("$version", ({ version, api }) => {
  describeWithPeer("a Task client of the Rust server", () => {
    let peer: Peer;
    let connection: Connection;
    let task: Client<TaskApi["Task"]>;

    beforeAll(async () => {
      peer = await Peer.task(version);
      connection = await connect(peer.address);
      task = createClient(api.Task, connection);
    });

    afterAll(async () => {
      await connection?.close();
      await peer?.kill();
    });

    test("has the 17 methods of the service", () => {
      expect(METHODS).toHaveLength(17);
      expect(Object.keys(task).toSorted()).toEqual(METHODS.toSorted());
    });

    test.each(METHODS)("sends the request of %s byte for byte and gets its typed reply", async (name) => {
      const method = methodOf(api, name);
      const request = requestsOf(ID)[name];

      const reply = await callMethod(task, name, request);
      expect(reply).toEqual(create(method.output, answersOf(peer, version)[name]));

      const { stdin: arrived, bundle: payload } = await task.state({ id: "last" });
      expect(arrived).toBe(method.name);
      expect(payload).toBe(hex(toBinary(method.input, create(method.input, request))));
    });

    test("sends a request with no field set as no bytes", async () => {
      await task.pause({});
      const { stdin: arrived, bundle: payload } = await task.state({ id: "last" });
      expect({ arrived, payload }).toEqual({ arrived: "Pause", payload: "" });
    });

    test("accepts a message as well as a plain object", async () => {
      const request = create(api.StartRequestSchema, { id: "four", execId: "5 exe" });
      await expect(task.start(request)).resolves.toMatchObject({ pid: 2009 });
    });

    test("sends every value of a key in order, with keys in lower case", async () => {
      const metadata = { "Key-1": ["b", "a", "b"], "key-2": "one", "KEY-1": ["c"], empty: "", none: [] };
      const { bundle } = await task.state({ id: "metadata" }, { metadata });
      expect(JSON.parse(bundle)).toEqual({ "key-1": ["b", "a", "b", "c"], "key-2": ["one"], empty: [""] });
    });

    test("sends metadata in any language, under any key", async () => {
      const metadata = Object.fromEntries([
        ["clé", "ü€😀"],
        ["__proto__", "key"],
        ["constructor", "\u0000\n"],
      ]);
      const { bundle } = await task.state({ id: "metadata" }, { metadata });
      const received = new Map(Object.entries(JSON.parse(bundle) as Record<string, string[]>));
      expect(received).toEqual(
        new Map([
          ["clé", ["ü€😀"]],
          ["__proto__", ["key"]],
          ["constructor", ["\u0000\n"]],
        ]),
      );
    });

    test.each([
      [undefined, "0"],
      [0, "0"],
      [1500, "1500000000"],
      [60_000.25, "60000250000"],
      [60_000.000001, "60000000001"],
      [2 ** 40, `${2n ** 40n * 1_000_000n}`],
      [Infinity, `${2n ** 63n - 1024n}`],
    ])("sends a timeout of %s ms as %s ns", async (timeoutMs, nanoseconds) => {
      const { stdin } = await task.state({ id: "metadata" }, { timeoutMs });
      expect(stdin).toBe(nanoseconds);
    });

    test.each([...Array.from({ length: 16 }, (_, index) => index + 1), 99, -1, 2 ** 31 - 1])(
      "gets the status code %i with its message and details",
      async (code) => {
        const error = await failure(task.state({ id: `error:${code}` }));
        expect(error.code).toBe(code);
        expect(error.rawMessage).toBe(`asked for ${code}`);
        expect(error.details).toEqual([
          create(AnySchema, {
            typeUrl: "containerd.events.TaskStart",
            value: toBinary(TaskStartSchema, create(TaskStartSchema, { containerId: "detail", pid: 7 })),
          }),
          create(AnySchema, {
            typeUrl: "example.com/unknown.Type",
            value: new Uint8Array([0xde, 0xad, 0xbe, 0xef]),
          }),
        ]);
        const unpacked = error.details.map((detail) => unpackAny(detail, TaskStartSchema));
        expect(unpacked).toEqual([create(TaskStartSchema, { containerId: "detail", pid: 7 }), undefined]);
      },
    );

    test.each(METHODS)("gets the status of a failed %s", async (name) => {
      const error = await failure(callMethod(task, name, { id: "error:5" }));
      expect(error).toMatchObject({ code: Code.NotFound, rawMessage: "asked for 5" });
      expect(error.details).toHaveLength(2);
    });

    test("matches the replies of calls in flight to their calls, whatever order they come in", async () => {
      const order: string[] = [];
      const ids = ["sleep:90", "sleep:1", "sleep:45", "plain"];
      const replies = await Promise.all(
        ids.map(async (id) => {
          const reply = await task.state({ id });
          order.push(id);
          return reply;
        }),
      );
      expect(replies.map((reply) => reply.id)).toEqual(ids);
      expect(order).toHaveLength(4);
      expect(order.at(-1)).toBe("sleep:90");
    });

    test("keeps working after a handler that never answers", async () => {
      await expect(failure(task.pids({ id: "panic" }, { timeoutMs: 100 }))).resolves.toMatchObject({
        code: Code.DeadlineExceeded,
      });
      await expect(task.create({ id: "next" })).resolves.toMatchObject({ pid: 1004 });
    });

    test("shares the connection with other clients", async () => {
      const other = createClient(api.Task, connection);
      const [mine, others] = await Promise.all([task.create({ id: "a" }), other.create({ id: "bb" })]);
      expect([mine.pid, others.pid]).toEqual([1001, 1002]);
    });
  });
});

describeWithPeer("an Events client of the Rust server", () => {
  const exit: MessageInitShape<typeof TaskExitSchema> = {
    containerId: "web",
    id: "exec-9",
    pid: 4_294_967_295,
    exitStatus: 137,
    exitedAt: timestampFromDate(new Date("2023-11-14T22:13:20.123Z")),
  };

  test("forwards an envelope byte for byte", async () => {
    await using peer = await Peer.task("v3");
    await using connection = await connect(peer.address);
    const envelope = {
      timestamp: timestampFromMs(1_700_000_003_005),
      namespace: "namespace-1",
      topic: TASK_START_EVENT_TOPIC,
      event: packAny(TaskExitSchema, exit),
    };

    const reply = await createClient(Events, connection).forward({ envelope });
    expect(reply.$typeName).toBe("google.protobuf.Empty");

    const { bundle } = await createClient(VERSIONS[0]!.api.Task, connection).state({ id: "forwarded" });
    expect(bundle).toBe(hex(toBinary(ForwardRequestSchema, create(ForwardRequestSchema, { envelope }))));
    expect(bundle).toContain(hex(bytes("containerd.events.TaskExit")));
  });
});

describeWithPeer("a client of a service that the Rust server lacks", () => {
  test("gets the peer's own status, and the connection continues", async () => {
    await using peer = await Peer.task("v3");
    await using connection = await connect(peer.address);

    const error = await failure(createClient(TaskV2, connection).connect({ id: ID }));
    expect(error.message).toContain("containerd.task.v2.Task");

    const task = createClient(VERSIONS[0]!.api.Task, connection);
    await expect(task.connect({ id: ID })).resolves.toMatchObject({ shimPid: peer.pid });
  });

  test.each([
    ["tokio", () => Peer.task("v3")],
    ["threads", () => Peer.threads()],
  ])("gets Unimplemented, by which it finds the version that is served, with %s", async (_, start) => {
    await using peer = await start();
    await using connection = await connect(peer.address);
    const call = createClient(TaskV2, connection).connect({ id: ID });
    await expect(failure(call)).resolves.toMatchObject({ code: Code.Unimplemented });
  });

  test("gets Unimplemented for a method that the service lacks", async () => {
    await using peer = await Peer.task("v3");
    await using connection = await connect(peer.address);
    const call = connection.unary("containerd.task.v3.Task", "Nonsense", new Uint8Array());
    await expect(failure(call)).resolves.toMatchObject({
      code: Code.Unimplemented,
      message: expect.stringContaining("Nonsense") as string,
    });
  });
});
