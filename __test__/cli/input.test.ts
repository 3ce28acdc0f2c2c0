import { writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { describeWithPeers, StreamPeer } from "../helpers/stream-peer.js";
import { temporaryPath } from "../helpers/temp.js";
import { shimctl, Shimctl } from "./shimctl.js";

const STREAMING = ["--proto", path.join(import.meta.dirname, "protos/streaming.proto")];

describeWithPeer("the request of shimctl call", () => {
  let peer: Peer;
  beforeAll(async () => {
    peer = await Peer.task("v3");
  });
  afterAll(() => peer?.kill());

  const call = (method: string, data: string) => [
    "call",
    peer.address,
    `containerd.task.v3.Task/${method}`,
    data,
  ];

  it("must be UTF-8, and may begin with a byte order mark", async () => {
    const file = temporaryPath(".json");
    const bytes = Buffer.from('{"id":"\xff\xfe"}', "latin1");
    writeFileSync(file, bytes);
    const read = await shimctl(call("State", `@${file}`));
    expect(read).toEqual({ code: 2, stdout: "", stderr: `shimctl: ${file} is not UTF-8\n` });
    const piped = await shimctl(call("State", "-"), { input: bytes });
    expect(piped).toEqual({ code: 2, stdout: "", stderr: "shimctl: stdin is not UTF-8\n" });
    const marked = await shimctl(call("State", "-"), { input: '\ufeff{"id":"marked"}' });
    expect(marked.stdout).toContain('"id":"marked"');
  });
});

describeWithPeers("the requests of a stream of shimctl call, with $peer,", (language) => {
  let peer: StreamPeer;
  beforeAll(async () => {
    peer = await StreamPeer.serve(language);
  });
  afterAll(() => peer?.kill());

  const call = (method: string, ...rest: string[]) => [
    "call",
    peer.address,
    `ttrpc.integration.streaming.Streaming/${method}`,
    ...STREAMING,
    ...rest,
  ];

  it("must be UTF-8; the error says which one is not", async () => {
    const input = Buffer.from('{"seq":1}\r\n\n{"msg":"\xff"}\n', "latin1");
    const { code, stderr } = await shimctl(call("EchoStream", "-"), { input });
    expect({ code, stderr }).toEqual({ code: 2, stderr: "shimctl: stdin, message 2 is not UTF-8\n" });
  });

  it("have any character, come in pieces, and may begin with a byte order mark", async () => {
    await using child = new Shimctl(call("EchoStream", "-"), { input: "keep" });
    child.type('\ufeff{"seq":1,"m');
    await sleep(100);
    child.type('sg":"a\u2028é"}\r\n{"seq":5}');
    await sleep(100);
    child.endInput();
    const { stdout } = await child.outcome();
    expect(stdout).toBe('{"seq":2,"msg":"a\\u2028é"}\n{"seq":6}\n');
  });

  it("end with a stream that fails while its input is open", async () => {
    await using child = new Shimctl(call("EchoNull", "-", "--timeout", "300ms"), { input: "keep" });
    child.type("{}\n");
    expect((await child.outcome()).code).toBe(1);
  });
});
