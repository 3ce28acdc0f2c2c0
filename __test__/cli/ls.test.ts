import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { createServer } from "containerd-shim-protos";
import { Status, Task } from "containerd-shim-protos/task/v3";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { describeWithPeer, Peer } from "../helpers/peer.js";
import { RawServer } from "../helpers/raw-peer.js";
import { pathOf, staleSocket } from "../helpers/temp.js";
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
import { bootstrap, State } from "./state.js";
import { makeFifo } from "../helpers/shell.js";

describeWithPeer("shimctl ls", () => {
  const state = new State();
  let [v2, v3, orphan]: Peer[] = [];
  let hung: RawServer;
  let stale: string;
  let names: Record<string, string>;

  beforeAll(async () => {
    v2 = await Peer.task("v2", state.socket("v2"));
    v3 = await Peer.task("v3", state.socket("v3"));
    orphan = await Peer.task("v3", state.socket("orphan"));
    hung = await RawServer.listen(state.socket("hung"));
    stale = staleSocket();
    state.bundle("default", "old", { address: v2.address });
    state.bundle("default", "new", bootstrap(v3.address));
    // Shims of containerd 1.7 may write the address like this. The shim does not serve this version.
    state.bundle("default", "wrong-version", {
      address: JSON.stringify({ version: 2, address: v3.address }),
    });
    state.bundle("k8s.io", "pod", bootstrap(v2.address, 2));
    state.bundle("k8s.io", "in-pod", bootstrap(v2.address, 2));
    state.bundle("k8s.io", "hung", bootstrap(hung.address));
    state.bundle("k8s.io", "stale", bootstrap(stale));
    state.bundle("k8s.io", "grpc", bootstrap("unix:///run/grpc.sock", 3, "grpc"));
    state.bundle("k8s.io", "broken", { "bootstrap.json": "{" });
    state.bundle("k8s.io", "empty", {});
    state.bundle("k8s.io", "error:5", bootstrap(v3.address));
    names = { SOCKETS: state.sockets, STALE: stale };
  });

  afterAll(async () => {
    await Promise.all([v2, v3, orphan].map((peer) => peer?.kill()));
    await hung?.[Symbol.asyncDispose]();
  });

  beforeEach(() => {
    names["V2PID"] = String(v2?.pid);
    names["V3PID"] = String(v3?.pid);
    names["ORPHANPID"] = String(orphan?.pid);
  });

  const ls = (...rest: string[]) => ["ls", ...state.options, "--timeout", "500ms", ...rest];
  /** Masks what differs from run to run, and collapses the widths of columns. */
  const shape = (text: string) =>
    masked(text, names)
      .replaceAll(/\b\d+s\b/g, "AGE")
      .replaceAll(/ {2,}/g, "  ");

  it("lists each task with what its shim says about it, and each socket that no task names", async () => {
    const { code, stdout, stderr } = await shimctl(ls());
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    // Shims that answer late come last, so the order is not certain.
    const [headings = "", ...rows] = shape(stdout).trimEnd().split("\n");
    await expect([headings, ...rows.toSorted(), ""].join("\n")).toMatchFileSnapshot("golden/ls.txt");
  });

  it("aligns its columns", async () => {
    const [headings = "", ...rows] = (await shimctl(ls())).stdout.trimEnd().split("\n");
    const at = headings.indexOf("ADDRESS");
    expect(rows.length).toBe(12);
    // A shim that answers late may have more to say than there is room for.
    const running = rows.filter((row) => row.includes("running"));
    expect(running.length).toBe(5);
    for (const row of running) expect(row.slice(at - 2, at)).toBe("  ");
  });

  it.skipIf(noTerminal)(`has colour on a terminal${needsTerminal}`, async () => {
    // All have answered, or are out of time, before anything is drawn. Each row has room, however long its address is.
    const { code, stdout } = await onTerminal(ls("--timeout", "150ms"), { columns: 300 });
    expect(code).toBe(0);
    await expect(visible(shape(stdout))).toMatchFileSnapshot("golden/ls-terminal.txt");
  });

  it("prints JSON", async () => {
    const { code, stdout } = await shimctl(ls("--json"));
    expect(code).toBe(0);
    const shims = JSON.parse(stdout) as Record<string, unknown>[];
    expect(shims.find(({ id }) => id === "old")).toEqual({
      id: "old",
      namespace: "default",
      address: v2?.address,
      pid: v2?.pid,
      taskPid: 5003,
      version: 2,
      state: "running",
      uptimeSeconds: expect.any(Number) as number,
      containerd: null,
      own: true,
      error: null,
    });
    expect(shims.find(({ id }) => id === "stale")).toEqual({
      id: "stale",
      namespace: "k8s.io",
      address: stale,
      pid: null,
      taskPid: null,
      version: null,
      state: "unreachable",
      uptimeSeconds: null,
      containerd: null,
      own: true,
      error: "ECONNREFUSED",
    });
    expect(shims.filter(({ id }) => id === null)).toEqual([
      expect.objectContaining({ state: "orphan", pid: orphan?.pid, version: 3 }) as unknown,
    ]);
  });

  it("asks a shim only once for all its containers", async () => {
    const own = new State();
    await using shim = await RawServer.listen(own.socket("shared"));
    for (const id of ["a", "b", "c"]) own.bundle("default", id, bootstrap(shim.address));
    await using child = new Shimctl(["ls", ...own.options, "--json"]);
    const connection = await shim.accept();
    for (let answered = 0; answered < 6; answered++) {
      const { streamId } = await connection.nextRequest();
      await connection.reply(streamId, new Uint8Array());
    }
    expect((JSON.parse((await child.outcome()).stdout) as unknown[]).length).toBe(3);
  });

  it("does not mistake a second socket of a known shim for another shim", async () => {
    const own = new State();
    await using server = createServer().add(Task, {
      connect: () => ({ shimPid: process.pid }),
      state: () => ({ status: Status.RUNNING }),
    });
    own.bundle("default", "web", bootstrap(await server.listen(own.socket("shim"))));
    await using debug = await RawServer.listen(own.socket("debug"));
    const { code, stdout } = await shimctl(["ls", ...own.options, "--json"]);
    expect(code).toBe(0);
    expect((JSON.parse(stdout) as { id: string }[]).map(({ id }) => id)).toEqual(["web"]);
    expect(existsSync(pathOf(debug.address))).toBe(true);
  });

  it("ends with 130 when it is interrupted before all have answered, and prints nothing", async () => {
    const own = new State();
    await using shim = await RawServer.listen(own.socket("hung"));
    own.bundle("default", "hung", bootstrap(shim.address));
    await using child = new Shimctl(["ls", ...own.options, "--timeout", "1h"]);
    await (await shim.accept()).nextRequest();
    child.kill("SIGINT");
    expect(await child.outcome()).toEqual({ code: 130, stdout: "", stderr: "" });
  });

  it("--watch prints one table after the other in a pipe, until it is stopped", async () => {
    await using child = new Shimctl(ls("--watch", "--interval", "10ms"));
    await child.says(/NAMESPACE[^]*NAMESPACE[^]*NAMESPACE/);
    child.kill("SIGINT");
    expect(await child.outcome()).toMatchObject({ code: 0, stderr: "" });
  });

  it("--watch --json prints a line for each refresh", async () => {
    await using child = new Shimctl(ls("--watch", "--interval", "10ms", "--json"));
    await child.says(/\]\n\[[^]*\]\n/);
    child.kill("SIGTERM");
    const { code, stdout } = await child.outcome();
    expect(code).toBe(0);
    for (const line of stdout.trimEnd().split("\n")) expect(JSON.parse(line)).toHaveLength(12);
  });

  it.skipIf(noTerminal)(
    `--watch updates a table in place on a terminal when something changes${needsTerminal}`,
    async () => {
      const own = new State();
      own.bundle("default", "first", { address: v2!.address });
      await using child = new TerminalShimctl(["ls", ...own.options, "--watch", "--interval", "50ms"]);
      await child.says("first");
      own.bundle("default", "second", { address: v2!.address });
      await child.says("second");
      child.type("\x03");
      const { code, stdout } = await child.outcome();
      expect(code).toBe(0);
      // The cursor moves back up, and is shown again at the end.
      expect(visible(stdout)).toMatch(/␛\[\d*A/);
      expect(visible(stdout)).toMatch(/␛\[\?25l[^]*␛\[\?25h/);
    },
  );
});

describe("shimctl ls, with an odd bundle", () => {
  it("reports what is wrong with it, and lists the others", async () => {
    const state = new State();
    state.bundle("default", "object", { "bootstrap.json": '{"address":"/x","protocol":{"toString":1}}' });
    state.bundle("default", "list", { "bootstrap.json": '{"version":1e999,"address":["/x"]}' });
    state.bundle("default", "pipe", {});
    const tasks = path.join(state.state, "io.containerd.runtime.v2.task");
    makeFifo(path.join(tasks, "default/pipe/address"));
    writeFileSync(path.join(tasks, "no-folder"), "");
    const { code, stdout, stderr } = await shimctl(["ls", ...state.options, "--json"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const errors = (JSON.parse(stdout) as { id: string; error: string }[]).map(({ id, error }) => [
      id,
      error,
    ]);
    expect(errors).toEqual([
      ["list", "bootstrap.json names no address"],
      ["object", "it speaks no protocol"],
      ["pipe", "address is not a file"],
    ]);
  });
});

describe("shimctl ls, without shims", () => {
  it("says that there are no shims", async () => {
    const state = new State();
    const { code, stdout, stderr } = await shimctl(["ls", ...state.options]);
    expect(code).toBe(0);
    expect(stdout).toBe("NAMESPACE  ID  PID  VERSION  STATE  UPTIME  ADDRESS\n");
    expect(stderr).toBe(`no shims in ${state.state}\n`);
    expect((await shimctl(["ls", ...state.options, "--json"])).stdout).toBe("[]\n");
  });
});
