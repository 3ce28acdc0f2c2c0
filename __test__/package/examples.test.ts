import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { createServer, TtrpcError } from "containerd-shim-protos";
import { Task } from "containerd-shim-protos/task/v3";
import { describe, expect, it } from "vitest";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { Program, run, success, temporaryFolder } from "../helpers/program.js";
import { pathOf, temporaryAddress } from "../helpers/temp.js";

const demo = "examples/demo/demo.ts";

// The address is that of the Rust crate's examples, so that the two can be mixed. Therefore these tests must run one after
// the other, as tests in one file do, and no other file may use it.
const SHARED_SOCKET = "/tmp/shim-proto-ttrpc-001";

describe.each(["ttrpc-server", "ttrpc-server-async"])("the example %s", (server) => {
  it.each(["ttrpc-client", "ttrpc-client-async"])("gives %s the pid that it expects", async (client) => {
    await using serving = new Program(`examples/${server}.ts`);
    await serving.printed("Server is running, press Ctrl + C to exit\n");

    expect(await run(`examples/${client}.ts`)).toEqual(
      success(
        /^OS Thread 0 - task\.create\(\) started: \S+ms\nOS Thread 0 - task\.create\(\) -> {"pid":4288} ended: \S+ms\n$/,
      ),
    );

    expect(serving.errors).toBe("");
  });

  it.each(["SIGINT", "SIGTERM"] as const)("ends cleanly on %s and removes its socket", async (signal) => {
    await using serving = new Program(`examples/${server}.ts`);
    await serving.printed("press Ctrl + C to exit\n");
    expect(existsSync(SHARED_SOCKET)).toBe(true);

    serving.signal(signal);

    expect(await serving.ended()).toBe(0);
    expect(existsSync(SHARED_SOCKET)).toBe(false);
  });
});

describe.each(["connect", "connect-async"])("the example %s", (example) => {
  it("asks for the pids, then requests a shutdown", async () => {
    const requests: unknown[] = [];
    await using server = createServer();
    server.add(Task, {
      connect({ id }) {
        requests.push({ connect: id });
        return { shimPid: 4242, taskPid: 4243 };
      },
      shutdown({ id, now }) {
        requests.push({ shutdown: id, now });
        return {};
      },
    });
    const address = await server.listen(temporaryAddress());

    expect(await run(`examples/${example}.ts`, [address, "web"])).toEqual(
      success(
        [
          `Connecting to ${address}...`,
          "Sending `Connect` request...",
          'Connect response: {"shimPid":4242,"taskPid":4243}',
          "Sending `Shutdown` request...",
          "Shutdown response: {}\n",
        ].join("\n"),
      ),
    );

    expect(requests).toEqual([{ connect: "web" }, { shutdown: "123", now: true }]);
  });

  it("says what it needs if there is no address", async () => {
    expect(await run(`examples/${example}.ts`)).toEqual({
      status: 2,
      output: "",
      errors: "First argument must be shim socket path\n",
    });
  });

  it("fails, and names the address, if nobody listens there", async () => {
    const address = temporaryAddress();

    const { status, errors } = await run(`examples/${example}.ts`, [address]);

    expect(status).toBe(1);
    expect(errors).toContain(`TtrpcError: cannot connect to ${address}: ENOENT, no such file or directory`);
  });
});

describeWithPeer("against the Rust server", () => {
  it.each(["connect", "connect-async"])("the example %s gets the shim's pid", async (example) => {
    await using peer = await Peer.task();

    expect(await run(`examples/${example}.ts`, [peer.address, "web"])).toEqual(
      success(new RegExp(`\nConnect response: {"shimPid":${peer.pid},"taskPid":5003,"version":"peer-v3"}\n`)),
    );
  });

  it.each([
    ["v3", []],
    ["v2", []],
    ["v3", ["--task", "v3"]],
    ["v2", ["--task", "v2"]],
  ] as const)("the demo asks a shim that speaks %s when run with %j", async (version, args) => {
    await using peer = await Peer.task(version);

    const { status, output, errors } = await run(demo, ["--address", peer.address, "--id", "web", ...args]);

    expect({ status, errors }).toEqual({ status: 0, errors: "" });
    expect(output).toMatch(new RegExp(`^  task +containerd\\.task\\.${version}\\.Task$`, "m"));
    expect(output).toMatch(/^Calls about web$/m);
    expect(output).toMatch(
      new RegExp(`^  connect +\\S+ ms  shim pid ${peer.pid}, task pid 5003, version peer-${version}$`, "m"),
    );
    expect(output).toMatch(/^  state +\S+ ms  RUNNING, pid 4242, bundle \/bundle\/web$/m);
    expect(output).toMatch(/^  pids +\S+ ms  4003, 4004$/m);
  });

  it("the demo says so if the shim does not speak the requested version", async () => {
    await using peer = await Peer.task("v2");

    const { status, output } = await run(demo, ["--address", peer.address, "--task", "v3"]);

    expect(status).toBe(1);
    expect(output).toMatch(/^  state +\S+ ms  Unimplemented: containerd\.task\.v3\.Task service does not/m);
    expect(output).toContain("\nThis shim has no such service. Leave --task out");
  });
});

describe("the demo", () => {
  /** What the demo made in its temporary folder, without the cache of tsx beside it. */
  const demoFolders = (tmp: string) => readdirSync(tmp).filter((name) => name.startsWith("shim-demo-"));

  it("makes typed calls, lets a deadline pass, unpacks an error's details, and measures", async () => {
    const tmp = temporaryFolder();

    const { status, output, errors } = await run(demo, ["--calls", "2000"], { tmp });

    expect({ status, errors }).toEqual({ status: 0, errors: "" });
    expect(output).toMatch(/^  state +\S+ ms  RUNNING, bundle \/run\/demo\/demo\/web/m);
    expect(output).toMatch(/^  wait +\S+ ms  DeadlineExceeded: /m);
    expect(output).toMatch(
      /^  kill +\S+ ms  NotFound: process already finished\n +TaskExit: container web, /m,
    );
    expect(output).toMatch(/, exit status 143$/m);
    expect(output).toMatch(/^2 000 calls of state, 64 in flight$/m);
    expect(output).toMatch(/^  rate +[\d ]+ calls a second$/m);
    expect(output).toMatch(/^  median +\S+ ms\n  p99 +\S+ ms$/m);
    expect(demoFolders(tmp)).toEqual([]);
  });

  it("draws neither bar nor colour if its output is not a terminal", async () => {
    const { output } = await run(demo, ["--calls", "100"]);

    expect(output).not.toContain("\u001b");
  });

  it.each(["SIGINT", "SIGTERM"] as const)(
    "leaves neither a folder nor a process behind on %s",
    async (signal) => {
      const tmp = temporaryFolder();
      await using program = new Program(demo, ["--calls", "9000000"], { tmp });
      await program.printed("in flight\n");
      expect(demoFolders(tmp).map((name) => statSync(join(tmp, name)).mode & 0o777)).toEqual([0o700]);
      const [, serverPid] = /server +pid (\d+)/.exec(program.output) ?? [];

      program.signal(signal);

      expect(await program.ended()).toBe(signal === "SIGINT" ? 130 : 143);
      expect(program.errors).toBe("");
      expect(demoFolders(tmp)).toEqual([]);
      expect(() => process.kill(Number(serverPid), 0)).toThrow("ESRCH");
    },
  );

  it("ends silently, and leaves no folder behind, when its reader has gone", async () => {
    const tmp = temporaryFolder();
    await using program = new Program(demo, ["--calls", "9000000"], { tmp });
    await program.printed("server");

    program.ignore();

    expect(await program.ended()).toBe(141);
    expect(program.errors).toBe("");
    expect(demoFolders(tmp)).toEqual([]);
  });

  it("answers --help with its options", async () => {
    expect(await run(demo, ["--help"])).toEqual(success(/^Usage: .*--address.*--id.*--task.*--help/s));
  });

  it.each([
    [["--frob"], "Unknown option '--frob'"],
    [["here"], "Unexpected argument 'here'"],
    [["--calls", "many"], '--calls must be a number from 1 to 9999999, not "many"'],
    [["--calls", "0"], '--calls must be a number from 1 to 9999999, not "0"'],
    [["--id", "web"], "--id needs --address"],
    [["--task", "v2"], "--task needs --address"],
    [["--address", "/a", "--task", "v4"], '--task must be v2 or v3, not "v4"'],
    [["--address", "/a", "--calls", "5"], "--calls does not go with --address"],
    [["--address", "a"], '--address: the address "a" is not one of unix:///path'],
  ])("refuses %j with status 2 and says why", async (args, message) => {
    const { status, output, errors } = await run(demo, args);

    expect({ status, output }).toEqual({ status: 2, output: "" });
    const [first, ...rest] = errors.split("\n");
    expect(first?.slice(0, message.length + 6)).toBe(`demo: ${message}`);
    expect(rest).toEqual(["Try `npm run demo -- --help`.", ""]);
  });

  it("fails with one line that names the address if no shim is there", async () => {
    const address = temporaryAddress();

    expect(await run(demo, ["--address", address])).toEqual({
      status: 1,
      output: "",
      errors: `demo: cannot connect to ${address}: ENOENT, no such file or directory\n`,
    });
  });

  it("shows each call that fails, and how to name a container", async () => {
    await using server = createServer();
    server.add(Task, {
      connect: () => ({ shimPid: 4242 }),
      state({ id }) {
        throw new TtrpcError(`no container ${JSON.stringify(id)}`, 5);
      },
    });
    const address = await server.listen(temporaryAddress());

    const { status, output } = await run(demo, ["--address", pathOf(address)]);

    expect(status).toBe(1);
    expect(output).toMatch(/^  connect +\S+ ms  shim pid 4242, task pid 0$/m);
    expect(output).toMatch(/^  state +\S+ ms  NotFound: no container ""$/m);
    expect(output).toMatch(/^  pids +\S+ ms  Unimplemented: /m);
    expect(output).toContain("\nName a container with --id.\n");
  });
});
