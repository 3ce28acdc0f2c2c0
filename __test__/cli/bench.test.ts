import { afterAll, beforeAll, expect, it } from "vitest";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { RawServer } from "../helpers/raw-peer.js";
import { temporaryAddress } from "../helpers/temp.js";
import { needsTerminal, noTerminal, onTerminal, shimctl, Shimctl } from "./shimctl.js";

interface Report {
  readonly calls: number;
  readonly failed: number;
  readonly failures: Record<string, number>;
  readonly seconds: number;
  readonly callsPerSecond: number;
  readonly latencyMs: Record<"min" | "mean" | "p50" | "p90" | "p99" | "p99.9" | "max", number>;
}

describeWithPeer("shimctl bench", () => {
  let peer: Peer;
  beforeAll(async () => {
    peer = await Peer.task("v3");
  });
  afterAll(() => peer?.kill());

  const bench = (id: string, ...rest: string[]) => [
    "bench",
    peer.address,
    "containerd.task.v3.Task/Connect",
    JSON.stringify({ id }),
    "--warmup",
    "1ms",
    ...rest,
  ];

  it("makes the requested number of calls, and reports rate and latencies", async () => {
    const { code, stdout, stderr } = await shimctl(bench("web", "--calls", "500", "-c", "8", "--json"));
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const report = JSON.parse(stdout) as Report;
    expect(report).toMatchObject({ calls: 500, failed: 0, failures: {}, concurrency: 8, connections: 1 });
    expect(report.callsPerSecond).toBeCloseTo(report.calls / report.seconds, 3);
    const { min, mean, p50, p90, p99, "p99.9": most, max } = report.latencyMs;
    expect([min, p50, p90, p99, most, max].toSorted((a, b) => a - b)).toEqual([
      min,
      p50,
      p90,
      p99,
      most,
      max,
    ]);
    expect(min).toBeGreaterThan(0);
    expect(mean).toBeGreaterThanOrEqual(min);
    expect(mean).toBeLessThanOrEqual(max);
  });

  it("makes no call before it measures, if told so", async () => {
    const { code, stdout } = await shimctl(bench("web", "--warmup", "0", "--calls", "3", "--json"));
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ calls: 3, failed: 0 });
  });

  it("prints a table, and runs for a duration, on several connections", async () => {
    const { code, stdout, stderr } = await shimctl(
      bench("web", "-d", "200ms", "-c", "4", "--connections", "2"),
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const shape = stdout.replaceAll(/\d+(\.\d+)? (µs|ms|s)$/gm, "TIME").replaceAll(/ \d[\d.]*$/gm, " N");
    await expect(shape).toMatchFileSnapshot("golden/bench.txt");
  });

  it.skipIf(noTerminal)(
    `shows a progress bar on a terminal, and removes it at the end${needsTerminal}`,
    async () => {
      const { code, stdout } = await onTerminal(bench("web", "-d", "400ms"));
      expect(code).toBe(0);
      expect(stdout).toMatch(/[█░]{10,} \d+ %/);
      expect(stdout.slice(stdout.lastIndexOf("%"))).toContain("calls/s");
    },
  );

  it("ends with 1 if a call failed, and counts failures by their codes", async () => {
    const { code, stdout } = await shimctl(bench("error:5", "--calls", "20", "--json"));
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ calls: 20, failed: 20, failures: { NotFound: 20 } });
    const table = await shimctl(bench("error:5", "--calls", "20"));
    expect(table.stdout).toContain("20 (NotFound 20)");
  });

  it("ends with 3 when the peer dies, and reports the calls so far", async () => {
    await using own = await Peer.task("v3");
    const args = ["bench", own.address, "containerd.task.v3.Task/Connect", "--warmup", "1ms", "-d", "1h"];
    await using child = new Shimctl([...args, "--json"]);
    await connected(own);
    await own.kill();
    const { code, stderr } = await child.outcome();
    expect(code).toBe(3);
    expect(stderr).toContain("shimctl: ");
  });

  it("ends with 130 when it is interrupted, and reports the calls so far", async () => {
    await using peerOfOne = await RawServer.listen();
    await using child = new Shimctl([
      "bench",
      peerOfOne.address,
      "containerd.task.v3.Task/Connect",
      "-d",
      "1h",
      "--warmup",
      "1ms",
    ]);
    const connection = await peerOfOne.accept();
    for (let answered = 0; answered < 50; answered++) {
      const { streamId } = await connection.nextRequest();
      await connection.reply(streamId, new Uint8Array());
    }
    // In flight, and never answered.
    await connection.nextRequest();
    child.kill("SIGINT");
    const { code, stdout } = await child.outcome();
    expect(code).toBe(130);
    expect(stdout).toContain("calls/s");
  });

  it.each([
    ["a duration", ["-d", "1s"]],
    ["a number of calls", ["--calls", "10"]],
  ])(
    "ends when the peer answers nothing, with %s, and says how many calls were not answered",
    async (_, limit) => {
      await using silent = await RawServer.listen();
      const args = [
        "bench",
        silent.address,
        "containerd.task.v3.Task/Connect",
        "-c",
        "3",
        "--warmup",
        "100ms",
        ...limit,
      ];
      const { code, stdout, stderr } = await shimctl([...args, "--json"]);
      expect(code).toBe(1);
      expect(JSON.parse(stdout)).toMatchObject({ calls: 0, unanswered: 3, callsPerSecond: 0, latencyMs: {} });
      expect(stderr).toContain("3 calls were not answered within 5.00 s");
    },
  );

  it("ends when the peer stops answering, and reports the calls so far", async () => {
    await using peerOfOne = await RawServer.listen();
    const args = [
      "bench",
      peerOfOne.address,
      "containerd.task.v3.Task/Connect",
      "--calls",
      "1000",
      "--warmup",
      "1ms",
    ];
    await using child = new Shimctl(args);
    const connection = await peerOfOne.accept();
    for (let answered = 0; answered < 20; answered++) {
      const { streamId } = await connection.nextRequest();
      await connection.reply(streamId, new Uint8Array());
    }
    const { code, stdout, stderr } = await child.outcome();
    expect(code).toBe(1);
    expect(stdout).toMatch(/^unanswered +1$/m);
    expect(stdout).toContain("p99");
    expect(stderr).toContain("1 call was not answered within 5.00 s");
  });

  it("refuses more calls in flight than there can be", async () => {
    const args = ["bench", temporaryAddress(), "v3.Task/State", "-c", String(Number.MAX_SAFE_INTEGER)];
    const { code, stderr } = await shimctl(args);
    expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining("at most 1000000") });
  });

  it("ends with 3 when nothing listens at the address", async () => {
    const { code } = await shimctl(["bench", temporaryAddress(), "v3.Task/Connect"]);
    expect(code).toBe(3);
  });
});

/** Resolves when a peer has been called. */
async function connected(peer: Peer): Promise<void> {
  for (;;) {
    const { stdout } = await shimctl(["call", peer.address, "v3.Task/State", '{"id":"last"}']);
    if (stdout.includes('"stdin":"Connect"')) return;
  }
}
