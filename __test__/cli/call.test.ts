import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import path from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { OptionsSchema } from "containerd-shim-protos/runc";
import { CreateTaskRequestSchema, ExecProcessRequestSchema } from "containerd-shim-protos/task/v3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { RawServer } from "../helpers/raw-peer.js";
import { describeWithPeers, StreamPeer } from "../helpers/stream-peer.js";
import { pathOf, staleSocket, temporaryAddress, temporaryPath } from "../helpers/temp.js";
import {
  masked,
  needsTerminal,
  noTerminal,
  onTerminal,
  shimctl,
  Shimctl,
  TerminalShimctl,
  visible,
} from "./shimctl.js";

const PROTOS = path.join(import.meta.dirname, "protos");
const STREAMING = ["--proto", path.join(PROTOS, "streaming.proto")];
const STREAMS = ["--proto", path.join(PROTOS, "streams.proto")];
const service = "ttrpc.integration.streaming.Streaming";

describeWithPeer("shimctl call, with the Task service of the Rust peer", () => {
  let peer: Peer;
  beforeAll(async () => {
    peer = await Peer.task("v3");
  });
  afterAll(() => peer?.kill());

  const call = (method: string, ...rest: string[]) => [
    "call",
    peer.address,
    `containerd.task.v3.Task/${method}`,
    ...rest,
  ];

  it("prints the reply on one line in a pipe", async () => {
    const { code, stdout, stderr } = await shimctl(call("State", '{"id":"web"}'));
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    await expect(stdout).toMatchFileSnapshot("golden/call-state.txt");
  });

  it.skipIf(noTerminal)(
    `prints the reply in colour, one field a line, on a terminal${needsTerminal}`,
    async () => {
      const { code, stdout } = await onTerminal(call("State", '{"id":"web"}'));
      expect(code).toBe(0);
      await expect(visible(stdout)).toMatchFileSnapshot("golden/call-state-terminal.txt");
    },
  );

  it.skipIf(noTerminal)(
    `uses colour in a pipe with FORCE_COLOR, and none on a terminal with NO_COLOR${needsTerminal}`,
    async () => {
      const forced = await shimctl(call("Connect", '{"id":"web"}'), { env: { FORCE_COLOR: "1" } });
      expect(visible(forced.stdout)).toContain('␛[34m"version"␛[39m:␛[32m"peer-v3"␛[39m');
      const plain = await onTerminal(call("Connect", '{"id":"web"}'), { env: { NO_COLOR: "1" } });
      expect(plain.stdout).toContain('  "version": "peer-v3"\n');
      expect(plain.stdout).not.toContain("\x1b");
    },
  );

  it("unpacks an Any by its type, at any depth", async () => {
    const stats = await shimctl(call("Stats", '{"id":"web"}'));
    expect(JSON.parse(stats.stdout)).toEqual({
      stats: {
        "@type": "io.containerd.cgroups.v1.Metrics",
        pids: { current: "3", limit: "18446744073709551615" },
      },
    });
    const pids = await shimctl(call("Pids", '{"id":"web"}'));
    expect(JSON.parse(pids.stdout)).toEqual({
      processes: [
        { pid: 4003 },
        { pid: 4004, info: { "@type": "containerd.runc.v1.ProcessDetails", execId: "web" } },
      ],
    });
  });

  it("packs an Any by its type, keeps the type as written, and packs OCI's JSON as JSON", async () => {
    const spec = {
      "@type": "types.containerd.io/opencontainers/runtime-spec/1/Process",
      value: { args: ["sh"], cwd: "/" },
    };
    expect((await shimctl(call("Exec", JSON.stringify({ id: "a", execId: "b", spec })))).code).toBe(0);
    // The peer reports the bytes of the request before.
    const last = await shimctl(call("State", '{"id":"last"}'));
    const { bundle, stdin } = JSON.parse(last.stdout) as { bundle: string; stdin: string };
    expect(stdin).toBe("Exec");
    const sent = fromBinary(ExecProcessRequestSchema, Buffer.from(bundle, "hex"));
    expect(sent.spec?.typeUrl).toBe(spec["@type"]);
    expect(JSON.parse(Buffer.from(sent.spec!.value).toString())).toEqual(spec.value);

    const options = { "@type": "containerd.runc.v1.Options", binaryName: "crun" };
    expect((await shimctl(call("Create", JSON.stringify({ id: "a", options })))).code).toBe(0);
    const created = JSON.parse((await shimctl(call("State", '{"id":"last"}'))).stdout) as { bundle: string };
    const request = fromBinary(CreateTaskRequestSchema, Buffer.from(created.bundle, "hex"));
    expect(request.options?.typeUrl).toBe("containerd.runc.v1.Options");
    const value = toBinary(OptionsSchema, create(OptionsSchema, { binaryName: "crun" }));
    expect(Buffer.from(request.options!.value)).toEqual(Buffer.from(value));
  });

  it("reads the request from a file and from stdin, even over several lines", async () => {
    const file = temporaryPath(".json");
    writeFileSync(file, '{\n  "id": "from-file"\n}\n');
    expect((await shimctl(call("State", `@${file}`))).stdout).toContain('"id":"from-file"');
    const piped = await shimctl(call("State", "-"), { input: '{\n  "id": "from-stdin"\n}\n' });
    expect(piped.stdout).toContain('"id":"from-stdin"');
  });

  it("sends metadata, several values of a key in order, and the deadline", async () => {
    const args = ["-m", "Key=a", "--metadata", "key=b=c", "-m", "constructor=", "--timeout", "1.5s"];
    const { stdout } = await shimctl(call("State", '{"id":"metadata"}', ...args));
    const { bundle, stdin } = JSON.parse(stdout) as { bundle: string; stdin: string };
    expect(JSON.parse(bundle)).toEqual({ constructor: [""], key: ["a", "b=c"] });
    expect(stdin).toBe("1500000000");
  });

  it("ends with 1 for a status, and prints its code and its details", async () => {
    const { code, stdout, stderr } = await shimctl(call("State", '{"id":"error:5"}'));
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    await expect(stderr).toMatchFileSnapshot("golden/call-status.txt");
  });

  it("ends with 1 for a status without a name, and for Unavailable", async () => {
    const unknown = await shimctl(call("State", '{"id":"error:99"}'));
    expect(unknown).toMatchObject({ code: 1 });
    expect(unknown.stderr).toContain("Code 99 (99): asked for 99");
    const unavailable = await shimctl(call("State", '{"id":"error:14"}'));
    expect(unavailable).toMatchObject({ code: 1 });
    expect(unavailable.stderr).toContain("Unavailable (14): asked for 14");
  });

  it("ends with 1 when the deadline passes, and suggests a longer one", async () => {
    const { code, stderr } = await shimctl(call("State", '{"id":"sleep:60000"}', "--timeout", "50ms"));
    expect(code).toBe(1);
    expect(stderr).toContain("DeadlineExceeded (4)");
    expect(stderr).toContain("try a longer --timeout");
  });

  it("ends with 1 for a service that the peer lacks, and names the versions", async () => {
    const { code, stderr } = await shimctl(["call", peer.address, "containerd.task.v2.Task/State"]);
    expect(code).toBe(1);
    expect(stderr).toContain("Unimplemented (12)");
    expect(stderr).toContain("containerd.task.v2.Task or containerd.task.v3.Task");
  });

  it.each([
    ["invalid JSON", "{id", "the argument is not a containerd.task.v3.StateRequest"],
    ["a field that does not exist", '{"name":"x"}', 'key "name" is unknown'],
    ["a field of another type", '{"id":7}', "id"],
    ["a missing file", "@/no/such/file", "cannot read /no/such/file: ENOENT"],
  ])("ends with 2 for %s", async (_, data, said) => {
    const { code, stdout, stderr } = await shimctl(call("State", data));
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(said);
  });

  it("ends with 2 for an Any of an unknown type, and says what to do", async () => {
    const { code, stderr } = await shimctl(call("Create", '{"options":{"@type":"a.B","x":1}}'));
    expect(code).toBe(2);
    expect(stderr).toContain('"@type" "a.B" is not known: add it with --proto, or give "value"');
  });

  it("uses hexadecimal with --raw, also for an unknown method", async () => {
    const { stdout } = await shimctl(call("Connect", "0a03776562", "--raw"));
    expect(stdout).toMatch(/^08[0-9a-f]+\n$/);
    const unknown = await shimctl(["call", peer.address, "no.Such/Method", "--raw"]);
    expect(unknown.code).toBe(1);
    const wrong = await shimctl(call("Connect", "0a0", "--raw"));
    expect(wrong).toMatchObject({ code: 2 });
    expect(wrong.stderr).toContain("the argument is not a message in hexadecimal");
  });
});

describeWithPeers("shimctl call, with the streaming service in $peer", (language) => {
  let peer: StreamPeer;
  beforeAll(async () => {
    peer = await StreamPeer.serve(language);
  });
  afterAll(() => peer?.kill());

  const call = (method: string, ...rest: string[]) => [
    "call",
    peer.address,
    `${service}/${method}`,
    ...STREAMING,
    ...rest,
  ];

  it("makes a unary call", async () => {
    const outcome = await shimctl(call("Echo", '{"seq":1,"msg":"hi"}'));
    expect(outcome).toEqual({ code: 0, stdout: '{"seq":2,"msg":"hi"}\n', stderr: "" });
  });

  it("prints a line for each message of a server stream", async () => {
    const outcome = await shimctl(call("DivideStream", '{"sum":10,"num":4}'));
    expect(outcome).toEqual({ code: 0, stdout: '{}\n{"add":1}\n{"add":2}\n{"add":7}\n', stderr: "" });
  });

  it("sends a message for each input line of a client stream", async () => {
    const outcome = await shimctl(call("SumStream", "-"), { input: '{"add":1}\n\n{"add":41}\n' });
    expect(outcome).toEqual({ code: 0, stdout: '{"sum":42,"num":2}\n', stderr: "" });
    const none = await shimctl(call("SumStream"));
    expect(none).toEqual({ code: 0, stdout: "{}\n", stderr: "" });
  });

  it("prints replies of a bidirectional stream while requests are still sent", async () => {
    await using child = new Shimctl(call("EchoStream", "-"), { input: "keep" });
    child.type('{"seq":1}\n');
    await child.says('{"seq":2}\n');
    child.type('{"seq":2,"msg":"x"}\n');
    await child.says('{"seq":3,"msg":"x"}\n');
    child.endInput();
    expect(await child.outcome()).toMatchObject({ code: 0, stderr: "" });
  });

  it.skipIf(noTerminal)(`runs a stream until its input ends on a terminal${needsTerminal}`, async () => {
    await using child = new TerminalShimctl(call("EchoStream", "-"));
    child.type('{"seq":1}\n');
    await child.says("2");
    child.type("\x04");
    expect((await child.outcome()).code).toBe(0);
  });

  it("streams bytes with --raw and --kind", async () => {
    const args = ["call", peer.address, `${service}/EchoStream`, "--raw", "--kind", "bidi_streaming", "-"];
    expect(await shimctl(args, { input: "0801\n0802 1201 78\n" })).toEqual({
      code: 0,
      stdout: "0802\n0803120178\n",
      stderr: "",
    });
  });

  it("prints the messages before the status of a stream, then ends with 1", async () => {
    const args = ["call", peer.address, "test.Streams/Fail", ...STREAMS, '{"seq":5,"msg":"gone"}'];
    const { code, stdout, stderr } = await shimctl(args);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '{"seq":5,"msg":"gone"}\n' });
    expect(stderr).toContain("NotFound (5): gone");
    // A type that only --proto has.
    expect(stderr).toContain('ttrpc.integration.streaming.EchoPayload","seq":5,"msg":"gone"}');
  });

  it("ends with 2 for a wrong line, and says which one it is", async () => {
    const { code, stderr } = await shimctl(call("EchoStream", "-"), { input: '{"seq":1}\n{"sec":2}\n' });
    expect(code).toBe(2);
    expect(stderr).toContain(`stdin, message 2 is not a ${service.replace(/Streaming$/, "EchoPayload")}`);
  });

  it("stops an endless stream at its deadline, and prints what came before", async () => {
    const args = ["call", peer.address, "test.Streams/Hang", ...STREAMS, '{"seq":1}', "--timeout", "300ms"];
    const { code, stdout, stderr } = await shimctl(args);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '{"seq":1}\n' });
    expect(stderr).toContain("DeadlineExceeded");
  });

  it("ends silently when its reader has gone, as after head", async () => {
    const args = ["call", peer.address, "test.Streams/Count", ...STREAMS, '{"sum":1000,"num":20000}'];
    await using child = new Shimctl(args);
    await child.says('{"msg":');
    child.leave();
    expect(await child.outcome()).toMatchObject({ code: 0, stderr: "" });
  });

  it("ends with 3 when the peer dies during a call", async () => {
    await using own = await StreamPeer.serve(language);
    const args = ["call", own.address, "test.Streams/Hang", ...STREAMS, '{"seq":1}'];
    await using child = new Shimctl(args);
    await child.says('{"seq":1}');
    await own.kill();
    expect(await child.outcome()).toMatchObject({ code: 3 });
    expect(child.stderr).toContain("shimctl: ");
  });
});

describeWithPeer("shimctl call, with every kind of field", () => {
  it("prints the same message that it sent, by a .proto file of edition 2023", async () => {
    await using peer = await Peer.echo();
    const any = { "@type": "type.googleapis.com/test.Everything.Inner", id: "7" };
    const unknown = { "@type": "example.com/unknown.Type", value: "3q2+7w==" };
    const json = { "@type": "types.containerd.io/spec", value: { a: [1] } };
    const wrapped = { "@type": "type.googleapis.com/google.protobuf.Int64Value", value: "-5" };
    const message = {
      explicit: 0,
      implicit: 5,
      packed: ["-1", "9223372036854775807"],
      expanded: [1, 2],
      delimited: { id: "18446744073709551615" },
      byNumber: { "-3": { id: "1" } },
      byName: { x: any, y: unknown },
      any,
      list: [
        json,
        wrapped,
        { "@type": "test.Everything", any: { "@type": "google.protobuf.Any", value: any } },
      ],
      time: "2026-01-02T03:04:05.000000006Z",
      struct: { a: null, b: [true, 1.5] },
      wrapped: "-1",
      colour: "RED",
      raw: "AP8=",
      anotherName: "é",
      nested: { text: "", list: [unknown] },
    };
    const proto = ["--proto", path.join(PROTOS, "editions.proto")];
    const { code, stdout, stderr } = await shimctl([
      "call",
      peer.address,
      "test.Echo/Echo",
      ...proto,
      JSON.stringify(message),
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(JSON.parse(stdout)).toEqual(message);
    expect(Object.keys(JSON.parse(stdout) as object)).toEqual(Object.keys(message));
  });
});

describe("shimctl call, when it is interrupted,", () => {
  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("ends silently with the exit code that a shell reports for %s", async (signal, code) => {
    await using peer = await RawServer.listen();
    await using child = new Shimctl(["call", peer.address, "v2.Task/State"]);
    await (await peer.accept()).nextRequest();
    child.kill(signal);
    expect(await child.outcome()).toEqual({ code, stdout: "", stderr: "" });
  });

  it.skipIf(noTerminal)(`ends by Ctrl-C on a terminal${needsTerminal}`, async () => {
    await using peer = await RawServer.listen();
    await using child = new TerminalShimctl(["call", peer.address, "v2.Task/State"]);
    await (await peer.accept()).nextRequest();
    child.type("\x03");
    expect((await child.outcome()).code).toBe(130);
  });
});

describe("shimctl call ends with 3, and says what to try,", () => {
  it("when nothing is at the address", async () => {
    const address = temporaryAddress();
    const { code, stdout, stderr } = await shimctl(["call", address, "v2.Task/State"]);
    expect({ code, stdout }).toEqual({ code: 3, stdout: "" });
    await expect(masked(stderr, { ADDRESS: address })).toMatchFileSnapshot("golden/call-nothing-there.txt");
  });

  it("when nobody listens on the socket any more", async () => {
    const { code, stderr } = await shimctl(["call", staleSocket(), "v2.Task/State"]);
    expect(code).toBe(3);
    expect(stderr).toContain("ECONNREFUSED");
    expect(stderr).toContain("nothing listens on this socket any more");
  });

  it.each([
    [
      "a guest",
      `hvsock://${temporaryPath()}:1024`,
      "  try another path: the hypervisor makes its socket when the guest starts\n",
    ],
    ["a host", "tcp://127.0.0.1:1", ""],
  ])("when the address is that of %s, of which ls lists nothing", async (_, address, advice) => {
    const { code, stderr } = await shimctl(["call", address, "v2.Task/State"]);
    expect({ code, advice: stderr.replace(/^shimctl: .*\n/, "") }).toEqual({ code: 3, advice });
  });

  it("when the peer ends the connection during the call", async () => {
    await using peer = await RawServer.listen();
    await using child = new Shimctl(["call", peer.address, "v2.Task/State"]);
    const connection = await peer.accept();
    await connection.nextRequest();
    connection.socket.destroy();
    expect(await child.outcome()).toMatchObject({ code: 3, stdout: "" });
    expect(child.stderr).toContain("does not speak ttrpc");
  });

  it("when the peer speaks something else", async () => {
    const address = temporaryAddress();
    const server: Server = createServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
    server.listen(pathOf(address));
    await once(server, "listening");
    try {
      const { code, stderr } = await shimctl(["call", address, "v2.Task/State"]);
      expect(code).toBe(3);
      expect(stderr).toContain("does not speak ttrpc");
    } finally {
      server.close();
    }
  });
});
