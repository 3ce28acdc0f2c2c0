import { execFileSync } from "node:child_process";
import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { RawServer } from "../helpers/raw-peer.js";
import { describeWithPeers, StreamPeer } from "../helpers/stream-peer.js";
import { temporaryPath } from "../helpers/temp.js";
import { shimctl, Shimctl } from "./shimctl.js";

/** A named pipe that stays open for writing. */
function pipe(): { readonly name: string; readonly fd: number } & Disposable {
  const name = temporaryPath(".pipe");
  execFileSync("mkfifo", [name]);
  const fd = openSync(name, "r+");
  return { name, fd, [Symbol.dispose]: () => closeSync(fd) };
}

const STREAMING = ["--proto", path.join(import.meta.dirname, "protos/streaming.proto")];

describe("the request of shimctl call, while it is awaited", () => {
  it.each(["stdin", "a pipe"])("does not keep it from ending by Ctrl-C: %s", async (source) => {
    await using server = await RawServer.listen();
    using file = pipe();
    const data = source === "stdin" ? "-" : `@${file.name}`;
    const args = ["call", server.address, "containerd.task.v3.Task/State", data];
    await using child = new Shimctl(args, { input: "keep" });
    // It has connected, and waits.
    await server.accept();
    child.kill("SIGINT");
    expect(await child.outcome()).toEqual({ code: 130, stdout: "", stderr: "" });
  });

  it("is refused once it is longer than any message", async () => {
    await using server = await RawServer.listen();
    const data = (kind: string) => ["--raw", "--kind", kind, "@/dev/zero"];
    for (const kind of ["unary", "bidi_streaming"]) {
      expect(await shimctl(["call", server.address, "my.Service/Method", ...data(kind)])).toEqual({
        code: 2,
        stdout: "",
        stderr: "shimctl: cannot read /dev/zero: it is longer than 64 MiB\n",
      });
    }
  });
});

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

  it("end with a stream whose peer has ended it, though the pipe they come from is open", async () => {
    using file = pipe();
    await using child = new Shimctl(call("EchoNull", `@${file.name}`, "--timeout", "300ms"));
    writeSync(file.fd, "{}\n");
    expect((await child.outcome()).code).toBe(1);
  });
});
