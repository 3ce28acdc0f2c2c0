import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { Code } from "containerd-shim-protos";
import { expect, test } from "vitest";

const PROGRAM = `
  import { mkdtempSync, rmSync } from "node:fs";
  import { tmpdir } from "node:os";
  import { create, protoInt64 } from "@bufbuild/protobuf";
  import { timestampDate } from "@bufbuild/protobuf/wkt";
  import { connect, createClient, createServer, packAny, unpackAny } from "containerd-shim-protos";
  import { MetricsSchema } from "containerd-shim-protos/cgroups/v2";
  import { createPublisher, listenEvents, TaskExitSchema } from "containerd-shim-protos/events";
  import { timestampFromDate } from "containerd-shim-protos/shim";
  import { usageOf } from "containerd-shim-protos/shims";
  import { Task } from "containerd-shim-protos/task/v3";

  const folder = mkdtempSync(tmpdir() + "/longs-");
  const seen = [];
  const server = createServer().add(Task, {
    wait: ({ id }) => ({ exitStatus: 1, exitedAt: { seconds: id === "text" ? "5" : 5n, nanos: 6 } }),
    stats: () => ({ stats: packAny(MetricsSchema, { pids: { current: 3n }, memory: { usage: "18446744073709551615" } }) }),
    state: async () => (answer),
  });
  const connection = await connect(await server.listen("unix://" + folder + "/s"));
  const task = createClient(Task, connection);
  const exits = [await task.wait({ id: "text" }), await task.wait({ id: "bigint" })].map(({ exitedAt }) => exitedAt);
  let answer = create(Task.method.state.output, { exitedAt: { seconds: protoInt64.parse(7), nanos: 0 } });
  answer = await task.state({});
  const echoed = (await task.state({})).exitedAt.seconds;
  answer = { exitedAt: { seconds: "9223372036854775808" } };
  const refused = await task.state({}).catch((error) => error.rawMessage);
  answer = { exitedAt: { seconds: "5s" } };
  const malformed = await task.state({}).catch((error) => error.rawMessage);
  const { stats } = await task.stats({});
  const { pids, memory } = unpackAny(stats, MetricsSchema);

  const heavy = { typeUrl: Task.method.create.input.typeName, value: new Uint8Array(Buffer.from("1a00".repeat(1 << 20), "hex")) };
  let limit;
  try { unpackAny(heavy, Task.method.create.input); } catch (error) { limit = error.code; }

  const events = listenEvents("unix://" + folder + "/e");
  const publisher = createPublisher("unix://" + folder + "/e", { namespace: "default" });
  const exitedAt = timestampFromDate(new Date(5000));
  const delivered = publisher.publish("/tasks/exit", TaskExitSchema, { containerId: "web", exitedAt });
  for await (const { timestamp, message } of events) {
    const late = Date.now() - timestampDate(timestamp).getTime();
    seen.push(typeof timestamp.seconds, late < 60_000, timestampDate(message.exitedAt).getTime());
    break;
  }
  await delivered;
  console.log(JSON.stringify({
    limit, exits: exits.map(({ seconds, nanos }) => [seconds, nanos]), echoed, refused, malformed, seen,
    pids: pids.current, memory: memory.usage, processes: usageOf(stats).processes,
  }));
  await publisher.close();
  await events.close();
  await connection.close();
  await server.close();
  rmSync(folder, { recursive: true });
`;

test("64-bit integers are strings in messages, both ways, where protobuf-es is told to have no bigints", async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", PROGRAM], {
    cwd: process.cwd(),
    env: { ...process.env, BUF_BIGINT_DISABLE: "1" },
  });
  const wrong =
    "the handler of containerd.task.v3.Task/State returned a wrong response: exitedAt.seconds must be";
  expect(JSON.parse(stdout)).toEqual({
    limit: Code.ResourceExhausted,
    exits: [
      ["5", 6],
      ["5", 6],
    ],
    echoed: "7",
    refused: `${wrong} a 64-bit integer, not 9223372036854775808`,
    malformed: `${wrong} a 64-bit integer as a string, not string`,
    seen: ["string", true, 5000],
    pids: "3",
    memory: "18446744073709551615",
    processes: 3,
  });
});
