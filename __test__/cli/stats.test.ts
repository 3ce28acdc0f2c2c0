import type { Any } from "@bufbuild/protobuf/wkt";
import { Code, createServer, packAny, type Server, TtrpcError } from "containerd-shim-protos";
import { MetricsSchema as MetricsV1Schema } from "containerd-shim-protos/cgroups/v1";
import { MetricsSchema as MetricsV2Schema } from "containerd-shim-protos/cgroups/v2";
import { Task as TaskV2 } from "containerd-shim-protos/task/v2";
import { Status, Task as TaskV3 } from "containerd-shim-protos/task/v3";
import { afterEach, describe, expect, it } from "vitest";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { temporaryAddress } from "../helpers/temp.js";
import { bootstrap, State } from "./state.js";
import { needsTerminal, noTerminal, shimctl, Shimctl, TerminalShimctl, visible } from "./shimctl.js";

const MiB = 1024n * 1024n;

/** Metrics of cgroups v1 at the given sample. */
function v1(looks: number): Any {
  const n = BigInt(looks);
  return packAny(MetricsV1Schema, {
    cpu: { usage: { total: n * 1_000_000_000n } },
    memory: { usage: { usage: 3n * MiB, limit: 2n ** 63n - 4096n } },
    pids: { current: 2n },
    blkio: {
      ioServiceBytesRecursive: [
        { op: "Read", value: n * MiB },
        { op: "Write", value: n * 2n * MiB },
        { op: "Read", value: n * MiB },
        { op: "Total", value: n * 100n * MiB },
      ],
    },
  });
}

/** Metrics of cgroups v2 at the given sample. */
function v2(looks: number): Any {
  const n = BigInt(looks);
  return packAny(MetricsV2Schema, {
    cpu: { usageUsec: n * 500_000n },
    memory: { usage: 16n * MiB, usageLimit: 32n * MiB },
    pids: { current: 7n },
    io: {
      usage: [
        { rbytes: n * MiB, wbytes: 0n },
        { rbytes: 0n, wbytes: n * 3n * MiB },
      ],
    },
  });
}

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close({ graceMs: 0 });
});

/** A shim that reports the given metrics for its container. */
async function shim(task: typeof TaskV3, metrics: (looks: number) => Any | undefined): Promise<string> {
  let looks = 0;
  const server = createServer().add(task, {
    connect: () => ({ shimPid: 1 }),
    stats({ id }) {
      if (id !== "web") throw new TtrpcError(`no container ${id}`, Code.NotFound);
      return { stats: metrics(looks++) };
    },
  });
  servers.push(server);
  return server.listen(temporaryAddress());
}

describe("shimctl stats", () => {
  it.each([
    ["v1", TaskV3, v1, { cgroup: 1, memoryBytes: 3 * 2 ** 20, memoryLimitBytes: null, processes: 2 }],
    [
      "v2",
      TaskV2,
      v2,
      { cgroup: 2, memoryBytes: 16 * 2 ** 20, memoryLimitBytes: 32 * 2 ** 20, processes: 7 },
    ],
  ] as const)("reads the metrics of cgroups %s, and computes rates", async (_, task, metrics, expected) => {
    const address = await shim(task as typeof TaskV3, metrics);
    const args = ["stats", address, "web", "--json", "-c", "2", "--interval", "50ms"];
    const { code, stdout, stderr } = await shimctl(args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const samples = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, number>);
    expect(samples).toHaveLength(2);
    for (const sample of samples) {
      expect(sample).toMatchObject(expected);
      // All rates cover the same time between two samples, however long it was.
      const seconds = (expected.cgroup === 1 ? 1 : 0.5) / (sample["cpuPercent"]! / 100);
      const [read, written] = expected.cgroup === 1 ? [2, 2] : [1, 3];
      expect(sample["readPerSecond"]! * seconds).toBeCloseTo(read * 2 ** 20, 0);
      expect(sample["writtenPerSecond"]! * seconds).toBeCloseTo(written * 2 ** 20, 0);
    }
    expect(samples[1]!["cpuSeconds"]! - samples[0]!["cpuSeconds"]!).toBeCloseTo(
      expected.cgroup === 1 ? 1 : 0.5,
    );
  });

  it("prints a row for each sample in a pipe", async () => {
    const address = await shim(TaskV3, v2);
    const { code, stdout } = await shimctl(["stats", address, "web", "-c", "2", "--interval", "10ms"]);
    expect(code).toBe(0);
    const [headings = "", ...rows] = stdout.trimEnd().split("\n");
    expect(headings.trim().split(/\s+/)).toEqual([
      "TIME",
      "CPU",
      "MEMORY",
      "LIMIT",
      "READ/S",
      "WRITE/S",
      "PROCESSES",
    ]);
    expect(rows).toHaveLength(2);
    for (const row of rows) {
      expect(row).toMatch(/^\d\d:\d\d:\d\d +\d+\.\d % +16\.0 MiB +32\.0 MiB +\S+ [KMGT]iB +\S+ [KMGT]iB +7$/);
    }
  });

  it.skipIf(noTerminal)(`draws sparklines on a terminal until it is stopped${needsTerminal}`, async () => {
    // A container that is busy in every second sample.
    const address = await shim(TaskV3, (looks) => v1(Math.ceil(looks / 2)));
    await using child = new TerminalShimctl(["stats", address, "web", "--interval", "30ms"]);
    await child.says(/[▁█]{8}/);
    child.type("\x03");
    const { code, stdout } = await child.outcome();
    expect(code).toBe(0);
    const screen = visible(stdout);
    for (const figure of ["CPU", "MEMORY", "READ", "WRITE", "PROCESSES"])
      expect(screen).toContain(`␛[1m${figure}`);
    expect(screen).toContain("cgroup v1");
    expect(stdout).toMatch(/▁.*█|█.*▁/);
  });

  it.skipIf(noTerminal)(`draws on a terminal that does not know its size${needsTerminal}`, async () => {
    const address = await shim(TaskV3, v1);
    const size = { columns: 0, rows: 0 };
    await using child = new TerminalShimctl(["stats", address, "web", "--interval", "30ms"], size);
    await child.says("cgroup v1");
    child.type("\x03");
    const { code, stdout } = await child.outcome();
    expect(code).toBe(0);
    for (const figure of ["CPU", "MEMORY", "READ", "WRITE", "PROCESSES"]) expect(stdout).toContain(figure);
  });

  it("finds the container by its id, or by its shim's address if it is the only one", async () => {
    const state = new State();
    const address = await shim(TaskV3, v2);
    state.bundle("default", "web", bootstrap(address));
    for (const target of ["we", address]) {
      const args = ["stats", target, "-c", "1", "--interval", "10ms", "--json", "--state", state.state];
      const { code, stdout } = await shimctl(args);
      expect({ code, cgroup: (JSON.parse(stdout) as { cgroup: number }).cgroup }).toEqual({
        code: 0,
        cgroup: 2,
      });
    }
    state.bundle("default", "other", bootstrap(address));
    const { code, stderr } = await shimctl(["stats", address, "--state", state.state]);
    expect(code).toBe(2);
    expect(stderr).toContain("names no container");
  });

  it.each([
    ["Wait is answered, even if nothing can be read any more", true],
    ["the shim says that it is stopped, without Wait", false],
  ])("ends with 0 when the container has: %s", async (_, waits) => {
    let end!: (exit: object) => void;
    const exit = new Promise<object>((resolve) => (end = resolve));
    let stopped = false;
    const server = createServer().add(TaskV3, {
      connect: () => ({ shimPid: 1 }),
      stats() {
        if (stopped) throw new TtrpcError("cgroup deleted", Code.Unknown);
        return { stats: v2(1) };
      },
      state: () => ({ status: stopped ? Status.STOPPED : Status.RUNNING }),
      ...(waits && { wait: () => exit }),
    });
    servers.push(server);
    const address = await server.listen(temporaryAddress());
    await using child = new Shimctl(["stats", address, "web", "--json", "--interval", "20ms"]);
    await child.printsLines(2);
    stopped = true;
    end({ exitStatus: 7 });
    const { code, stderr } = await child.outcome();
    expect({ code, stderr }).toEqual({ code: 0, stderr: "web has ended\n" });
  });

  it.skipIf(noTerminal).each([
    ["q", "q"],
    ["Ctrl-C", "\x03"],
  ])(`leaves the terminal as it was after %s${needsTerminal}`, async (_, key) => {
    const address = await shim(TaskV3, v1);
    await using child = new TerminalShimctl(["stats", address, "web", "--interval", "30ms"], {}, "; stty -a");
    await child.says("PROCESSES");
    child.type(`xyz${key}`);
    const { stdout } = await child.outcome();
    const screen = visible(stdout);
    // The cursor is back, keys are neither printed nor left to the shell, and they are lines and signals again.
    expect(screen).toMatch(/␛\[\?25l[^]*␛\[\?25h/);
    expect(screen.split("speed")[0]).not.toMatch(/xyz|\^C/);
    expect(screen).toMatch(/[^-]icanon/);
    expect(screen).toMatch(/[^-]isig/);
  });

  it("ends with 1 for a container that the shim does not have", async () => {
    const address = await shim(TaskV3, v1);
    const { code, stderr } = await shimctl(["stats", address, "nobody"]);
    expect(code).toBe(1);
    expect(stderr).toContain("NotFound (5): no container nobody");
  });

  it("ends with 1 if there are no metrics", async () => {
    const address = await shim(TaskV3, () => undefined);
    const { code, stderr } = await shimctl(["stats", address, "web"]);
    expect(code).toBe(1);
    expect(stderr).toContain("the shim answered nothing for the metrics of web");
  });

  it("ends with 3 when nothing listens at the address", async () => {
    expect(await shimctl(["stats", temporaryAddress(), "web"])).toMatchObject({ code: 3, stdout: "" });
  });
});

describeWithPeer("shimctl stats, with the Rust peer", () => {
  it("shows the peer's metrics, and ends with 3 when the peer dies", async () => {
    await using peer = await Peer.task("v2");
    await using child = new Shimctl(["stats", peer.address, "web", "--json", "--interval", "10ms"]);
    await child.says('"processes":3,');
    await peer.kill();
    expect(await child.outcome()).toMatchObject({ code: 3 });
  });
});
