import { existsSync, renameSync, statSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { RawServer } from "../helpers/raw-peer.js";
import { describeWithPeers, StreamPeer } from "../helpers/stream-peer.js";
import { pathOf, staleSocket, temporaryAddress, temporaryPath } from "../helpers/temp.js";
import { needsTerminal, noTerminal, shimctl, Shimctl, TerminalShimctl, visible } from "./shimctl.js";

import { proxyTo, shown } from "./proxied.js";

const PROTOS = ["--proto", path.join(import.meta.dirname, "protos/streams.proto")];

/** Masks what differs from run to run. */
function shape(text: string): string {
  return text
    .replaceAll(/^\d\d:\d\d:\d\d\.\d{3}/gm, "TIME")
    .replaceAll(/\b\d+(\.\d+)? (µs|ms|s)\b/g, "LATENCY");
}

describeWithPeer("shimctl proxy, in front of the Task service of the Rust peer", () => {
  let peer: Peer;
  beforeAll(async () => {
    peer = await Peer.task("v3");
  });
  afterAll(() => peer?.kill());

  const task = "containerd.task.v3.Task";

  it("prints each call with its message, its status, and how long it took", async () => {
    await using proxy = await proxyTo(peer.address);
    await shimctl(["call", proxy.address, `${task}/State`, '{"id":"web"}', "-m", "a=b", "--timeout", "5s"]);
    await proxy.says(/closed/);
    await shimctl(["call", proxy.address, `${task}/State`, '{"id":"error:5"}']);
    await proxy.says(/closed[^]*closed/);
    await shimctl(["call", proxy.address, "test.None/Nothing", "0801", "--raw"]);
    await proxy.says(/closed[^]*closed[^]*closed/);
    proxy.kill("SIGTERM");
    const { code, stdout } = await proxy.outcome();
    expect(code).toBe(0);
    await expect(shape(stdout)).toMatchFileSnapshot("golden/proxy.txt");
  });

  it("prints JSON with everything in a frame", async () => {
    await using proxy = await proxyTo(peer.address, "--json");
    await shimctl(["call", proxy.address, `${task}/Stats`, '{"id":"web"}', "-m", "a=b", "--timeout", "5s"]);
    await proxy.says('"event":"close"');
    proxy.kill("SIGINT");
    const [open, request, response, close] = shown((await proxy.outcome()).stdout);
    const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/) as string;
    const common = { time, connection: 1 };
    expect(open).toEqual({ ...common, event: "open" });
    expect(request).toEqual({
      ...common,
      event: "frame",
      stream: 1,
      from: "client",
      type: "request",
      size: expect.any(Number) as number,
      service: task,
      method: "Stats",
      metadata: { a: ["b"] },
      timeoutMs: 5000,
      message: { id: "web" },
    });
    expect(response).toEqual({
      ...common,
      event: "frame",
      stream: 1,
      from: "server",
      type: "response",
      size: expect.any(Number) as number,
      service: task,
      method: "Stats",
      latencyMs: expect.any(Number) as number,
      end: true,
      message: {
        stats: {
          "@type": "io.containerd.cgroups.v1.Metrics",
          pids: { current: "3", limit: "18446744073709551615" },
        },
      },
    });
    expect(close).toEqual({ ...common, event: "close", bytes: expect.anything() as unknown });
  });

  it("keeps connections and their streams apart", async () => {
    await using proxy = await proxyTo(peer.address, "--json");
    const bench = [
      "bench",
      proxy.address,
      `${task}/Connect`,
      '{"id":"web"}',
      "-c",
      "16",
      "--connections",
      "4",
    ];
    expect((await shimctl([...bench, "--calls", "400", "--warmup", "1ms"])).code).toBe(0);
    await proxy.says(/("event":"close"[^]*){4}/);
    proxy.kill("SIGINT");
    const events = shown((await proxy.outcome()).stdout);
    for (const connection of [1, 2, 3, 4]) {
      const frames = events.filter((event) => event.connection === connection && event.event === "frame");
      const requests = frames.filter(({ type }) => type === "request");
      const responses = frames.filter(({ type }) => type === "response");
      expect(responses.length).toBe(requests.length);
      expect(responses.every(({ method }) => method === "Connect")).toBe(true);
      expect(new Set(requests.map(({ stream }) => stream)).size).toBe(requests.length);
    }
  });

  it.skipIf(noTerminal)(`has colour on a terminal${needsTerminal}`, async () => {
    const address = temporaryAddress();
    await using proxy = new TerminalShimctl(["proxy", address, peer.address]);
    await proxy.says("listening");
    await shimctl(["call", address, `${task}/Start`, '{"id":"web"}']);
    await proxy.says("closed");
    proxy.type("\x03");
    const { code, stdout } = await proxy.outcome();
    expect(code).toBe(0);
    expect(visible(stdout)).toContain(`␛[36m→␛[39m ${task}/␛[1mStart␛[22m {␛[34m"id"␛[39m:␛[32m"web"␛[39m}`);
  });

  it("has a socket that only its user can use, and leaves none behind", async () => {
    const address = temporaryAddress();
    await using proxy = new Shimctl(["proxy", address, peer.address]);
    await proxy.says("listening on");
    expect(statSync(pathOf(address)).mode & 0o777).toBe(0o600);
    proxy.kill("SIGINT");
    expect(await proxy.outcome()).toMatchObject({ code: 0 });
    expect(existsSync(pathOf(address))).toBe(false);
  });

  it("leaves none behind when its terminal is closed either", async () => {
    await using proxy = await proxyTo(peer.address);
    proxy.kill("SIGHUP");
    expect(await proxy.outcome()).toMatchObject({ code: null });
    expect(existsSync(pathOf(proxy.address))).toBe(false);
  });

  it("leaves a socket that has got its path meanwhile", async () => {
    const [address, moved] = [temporaryAddress(), temporaryAddress()];
    await using proxy = new Shimctl(["proxy", address, peer.address]);
    await proxy.says("listening on");
    await using _live = await RawServer.listen(moved);
    // As one puts the socket of a shim back, in front of which the proxy was.
    renameSync(pathOf(moved), pathOf(address));
    const { ino } = statSync(pathOf(address));
    proxy.kill("SIGINT");
    expect(await proxy.outcome()).toMatchObject({ code: 0 });
    expect(statSync(pathOf(address)).ino).toBe(ino);
  });

  it("leaves no socket file behind when the reader of its output has gone", async () => {
    await using proxy = await proxyTo(peer.address);
    proxy.leave();
    await shimctl(["call", proxy.address, `${task}/State`, '{"id":"web"}']);
    expect(await proxy.outcome()).toMatchObject({ code: 0 });
    expect(existsSync(pathOf(proxy.address))).toBe(false);
  });

  it("keeps no call waiting for a stalled reader of its output, and says how many lines it left out", async () => {
    await using echo = await Peer.echo();
    await using proxy = await proxyTo(echo.address, "--full");
    proxy.ignore();
    // In hexadecimal, this is twice as long, and it is printed twice.
    const payload = "ff".repeat(1 << 20);
    for (let call = 0; call < 12; call++) {
      const { code } = await shimctl(["call", proxy.address, "test.Echo/Echo", "--raw", "-"], {
        input: payload,
      });
      expect(code).toBe(0);
    }
    proxy.listen();
    await shimctl(["call", proxy.address, "test.Echo/Echo", "--raw"]);
    await proxy.says(/\d+ lines left out: the reader is too slow/);
  });

  it("ends connections that are open when it is stopped", async () => {
    await using proxy = await proxyTo(peer.address);
    await using call = new Shimctl(["call", proxy.address, `${task}/State`, '{"id":"sleep:60000"}']);
    await proxy.says("sleep:60000");
    proxy.kill("SIGINT");
    expect(await proxy.outcome()).toMatchObject({ code: 0 });
    expect(await call.outcome()).toMatchObject({ code: 3 });
  });

  it("replaces a socket file on which nobody listens any more", async () => {
    const address = staleSocket();
    await using proxy = new Shimctl(["proxy", address, peer.address]);
    await proxy.says("listening on");
    expect(await shimctl(["call", address, `${task}/Start`])).toMatchObject({ code: 0 });
  });

  it("ends with 2 if its address is taken or in no folder, and with 3 if nothing listens at the target", async () => {
    const taken = await shimctl(["proxy", peer.address, peer.address]);
    expect(taken).toMatchObject({ code: 2 });
    const folder = await shimctl(["proxy", "/tmp", peer.address]);
    expect(folder.stderr).toContain("cannot listen on unix:///tmp: it is a folder, not a socket");
    expect(taken.stderr).toContain("EADDRINUSE");
    const missing = await shimctl(["proxy", `unix://${temporaryPath()}/y.sock`, peer.address]);
    expect(missing).toMatchObject({ code: 2, stdout: "" });
    expect(missing.stderr).toContain(": ENOENT, no such file or directory\n");
    expect(missing.stderr).toContain("  try an address in a folder that exists\n");
    expect(taken.stderr).toContain("something listens on this one already");
    const nothing = await shimctl(["proxy", temporaryAddress(), temporaryAddress()]);
    expect(nothing).toMatchObject({ code: 3 });
    expect(nothing.stderr).toContain("ENOENT");
  });
});

describeWithPeers("shimctl proxy, in front of the streaming service in $peer", (language) => {
  it("prints the messages of streams of every kind, over TCP as well", async () => {
    await using peer = await StreamPeer.serve(language);
    await using proxy = await proxyTo(peer.address, ...PROTOS);
    const service = "ttrpc.integration.streaming.Streaming";
    const call = (method: string, ...rest: string[]) => ["call", proxy.address, method, ...PROTOS, ...rest];
    const calls: [string[], string?][] = [
      [call(`${service}/EchoStream`, "-"), '{"seq":1}\n{"seq":2}\n'],
      [call(`${service}/SumStream`, "-"), '{"add":1}\n{"add":2}\n'],
      [call(`${service}/DivideStream`, '{"sum":3,"num":2}')],
      [call("test.Streams/Fail", '{"seq":5,"msg":"gone"}')],
    ];
    for (const [number, [args, input]] of calls.entries()) {
      await shimctl(args, { input });
      await proxy.says(new RegExp(`(closed[^]*){${number + 1}}`));
    }
    proxy.kill("SIGINT");
    const lines = shape((await proxy.outcome()).stdout).split("\n");
    // The sides of a stream send independently, so only the order of each is fixed.
    for (const arrow of ["→", "←"]) {
      const side = lines.filter((line) => line.includes(` ${arrow} `)).join("\n");
      const file = arrow === "→" ? "proxy-streams-client.txt" : "proxy-streams-server.txt";
      await expect(`${side}\n`).toMatchFileSnapshot(`golden/${file}`);
    }
  });
});

describe("shimctl proxy, when its target goes away,", () => {
  it("reports it, ends the connection, and keeps listening", async () => {
    const target = temporaryAddress();
    let server = await RawServer.listen(target);
    await using proxy = await proxyTo(target);
    await server[Symbol.asyncDispose]();
    const first = await shimctl(["call", proxy.address, "v2.Task/State"]);
    expect(first.code).toBe(3);
    await proxy.says(/closed, .*ENOENT/);
    server = await RawServer.listen(target);
    await using call = new Shimctl(["call", proxy.address, "v2.Task/State"]);
    const connection = await server.accept();
    const { streamId } = await connection.nextRequest();
    await connection.reply(streamId, new Uint8Array());
    expect(await call.outcome()).toMatchObject({ code: 0, stdout: "{}\n" });
    await server[Symbol.asyncDispose]();
  });
});
