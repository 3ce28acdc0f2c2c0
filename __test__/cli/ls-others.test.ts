import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import path from "node:path";
import { Code, createServer, type Server, TtrpcError } from "containerd-shim-protos";
import { Status, Task } from "containerd-shim-protos/task/v3";
import { afterEach, describe, expect, it } from "vitest";
import { RawServer } from "../helpers/raw-peer.js";
import { pathOf, temporaryPath } from "../helpers/temp.js";
import {
  needsTerminal,
  noTerminal,
  onTerminal,
  shimctl,
  Shimctl,
  TerminalShimctl,
  visible,
} from "./shimctl.js";
import { bootstrap, State } from "./state.js";

const ROOT = path.join(import.meta.dirname, "../..");

/** A process with the command line of a shim, which serves a running container. */
class FakeShim implements AsyncDisposable {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(address: string, flags: readonly string[]): Promise<FakeShim> {
    const program = `
      import { createServer } from "containerd-shim-protos";
      import { Status, Task } from "containerd-shim-protos/task/v3";
      const server = createServer();
      server.add(Task, {
        connect: () => ({ shimPid: process.pid, taskPid: 4242 }),
        state: ({ id }) => ({ id, status: Status.RUNNING }),
      });
      await server.listen(${JSON.stringify(address)});
      console.log("ready");
    `;
    // Node reads the program from stdin and leaves the other words to it.
    const child = spawn(process.execPath, ["--input-type=module", "-", ...flags], {
      cwd: ROOT,
      stdio: ["pipe", "pipe", "inherit"],
    });
    child.stdin?.end(program);
    await once(child.stdout!, "data");
    return new FakeShim(child);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
  }
}

const rowsOf = (stdout: string) => JSON.parse(stdout) as Record<string, unknown>[];

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close({ graceMs: 0 });
});

describe("a table", () => {
  /** The columns of a line: characters of East Asia and emoji take two. */
  const columnsOf = (line: string) =>
    [...line].map((one) => (one > "\u2fff" ? 2 : 1)).reduce((a, b) => a + b, 0);

  it.skipIf(noTerminal)(`keeps wide characters whole and within the terminal${needsTerminal}`, async () => {
    const state = new State();
    for (const [at, reason] of ["失敗しました", "😀"].entries()) {
      const server = createServer().add(Task, {
        connect() {
          throw new TtrpcError(reason.repeat(20), Code.Internal);
        },
      });
      servers.push(server);
      state.bundle("default", `web${at}`, bootstrap(await server.listen(state.socket(`s${at}`))));
    }
    for (const columns of [61, 80, 101, 160]) {
      const { stdout } = await onTerminal(["ls", ...state.options], { columns, env: { NO_COLOR: "1" } });
      // eslint-disable-next-line no-control-regex -- what draws in place
      const lines = stdout.replaceAll(/\x1b\[[\d;?]*[A-Za-z]/g, "").split("\n");
      if (columns === 160) expect(stdout).toContain("失敗");
      expect(stdout).not.toContain("\ufffd");
      for (const line of lines) expect(columnsOf(line)).toBeLessThanOrEqual(columns);
      // What follows in a row begins in the same column.
      const rows = lines.filter((line) => line.includes("unix://") && line.startsWith("default"));
      const begins = rows.map((line) => columnsOf(line.slice(0, line.indexOf("unix://"))));
      expect(new Set(begins).size).toBeLessThanOrEqual(1);
    }
  });
});

describe("shimctl ls, with shims that no task names", () => {
  it("knows its own containerd and the shims' sockets by whatever path they are named", async () => {
    const state = new State();
    const link = temporaryPath();
    mkdirSync(link);
    for (const folder of ["state", "sockets"] as const) symlinkSync(state[folder], path.join(link, folder));
    const flags = ["-namespace", "default", "-id", "web", "-address", `${link}/state/containerd.sock`];
    await using shim = await FakeShim.start(state.socket("web"), flags);
    const args = ["ls", "--state", state.state, "--sockets", `${link}/sockets`, "--json"];
    const { code, stdout } = await shimctl(args);
    expect(code).toBe(0);
    expect(rowsOf(stdout)).toEqual([
      expect.objectContaining({ id: "web", pid: shim.pid, state: "orphan" }) as unknown,
    ]);
  });

  it("names those of another containerd from their command line", async () => {
    const state = new State();
    const flags = ["-namespace", "k8s.io", "-id", "pod", "-address", "/run/k3s/containerd/containerd.sock"];
    await using shim = await FakeShim.start(state.socket("other"), flags);
    const { code, stdout } = await shimctl(["ls", ...state.options, "--json"]);
    expect(code).toBe(0);
    expect(rowsOf(stdout)).toEqual([
      expect.objectContaining({
        id: "pod",
        namespace: "k8s.io",
        pid: shim.pid,
        taskPid: 4242,
        state: "running",
        containerd: "/run/k3s/containerd/containerd.sock",
        own: false,
      }) as unknown,
    ]);
    const table = (await shimctl(["ls", ...state.options])).stdout;
    expect(table).toMatch(/^k8s\.io +pod .* running, of \/run\/k3s\/containerd\/containerd\.sock /m);
    // Filters find it too.
    expect(
      rowsOf((await shimctl(["ls", "po", ...state.options, "-n", "k8s.io", "--json"])).stdout),
    ).toHaveLength(1);
    expect(rowsOf((await shimctl(["ls", ...state.options, "-n", "other", "--json"])).stdout)).toEqual([]);
  });

  it("calls a shim of this containerd without a task an orphan, by its name", async () => {
    const state = new State();
    const flags = ["-namespace", "default", "-id", "lost", "-address", "/run/mine.sock"];
    await using shim = await FakeShim.start(state.socket("lost"), flags);
    const { stdout } = await shimctl(["ls", ...state.options, "--address", "/run/mine.sock", "--json"]);
    expect(rowsOf(stdout)).toEqual([
      expect.objectContaining({
        id: "lost",
        namespace: "default",
        pid: shim.pid,
        state: "orphan",
      }) as unknown,
    ]);
  });

  it("does not believe a pid whose process has another socket", async () => {
    const state = new State();
    const flags = ["-namespace", "default", "-id", "honest", "-address", "/run/other.sock"];
    await using honest = await FakeShim.start(new State().socket("elsewhere"), flags);
    await using liar = createServer().add(Task, { connect: () => ({ shimPid: honest.pid }) });
    await liar.listen(state.socket("liar"));
    const { stdout } = await shimctl(["ls", ...state.options, "--json"]);
    expect(rowsOf(stdout)).toEqual([
      expect.objectContaining({ id: null, namespace: null, containerd: null, state: "orphan" }) as unknown,
    ]);
  });

  it("says what is at an address that is no shim's", async () => {
    const state = new State();
    const http = createHttpServer().listen(pathOf(state.socket("http")));
    await once(http, "listening");
    writeFileSync(pathOf(state.socket("plain")), "");
    mkdirSync(pathOf(state.socket("folder")));
    const { code, stdout } = await shimctl(["ls", ...state.options, "--json"]);
    expect(code).toBe(0);
    expect(rowsOf(stdout).map(({ state: shown, error }) => [shown, error])).toEqual([
      ["unreachable", "it is a folder, not a socket"],
      ["unreachable", "it speaks HTTP, not ttrpc"],
      ["unreachable", "it is a file, not a socket"],
    ]);
    const call = await shimctl(["call", state.socket("plain"), "v3.Task/Connect"]);
    expect(call).toMatchObject({ code: 2, stdout: "" });
    expect(call.stderr).toContain("it is a file, not a socket");
    http.close();
  });

  it("says that a state folder is a file", async () => {
    const state = new State();
    const file = pathOf(state.socket("plain"));
    writeFileSync(file, "");
    const { code, stderr } = await shimctl(["ls", "--state", file]);
    expect(code).toBe(2);
    expect(stderr).toContain("it is a file, not a folder");
  });
});

describe("shimctl ls, with filters and places", () => {
  const running = () =>
    createServer().add(Task, {
      connect: () => ({ shimPid: process.pid }),
      state: () => ({ status: Status.RUNNING }),
    });

  it("lists only a namespace, or only ids with a beginning", async () => {
    const state = new State();
    await using server = running();
    const address = await server.listen(state.socket("shim"));
    for (const id of ["web-1", "web-2", "db"]) state.bundle("default", id, bootstrap(address));
    state.bundle("k8s.io", "web-3", bootstrap(address));
    const ids = async (...args: string[]) =>
      rowsOf((await shimctl(["ls", ...state.options, "--json", ...args])).stdout).map(({ id }) => id);
    expect(await ids("web")).toEqual(["web-1", "web-2", "web-3"]);
    expect(await ids("web", "-n", "default")).toEqual(["web-1", "web-2"]);
    expect(await ids("-n", "k8s.io")).toEqual(["web-3"]);
  });

  it("finds the state folder by variables, and by containerd's address", async () => {
    const state = new State();
    await using server = running();
    state.bundle("default", "web", bootstrap(await server.listen(state.socket("shim"))));
    const ids = async (args: string[], env?: NodeJS.ProcessEnv) =>
      rowsOf((await shimctl(["ls", "--json", "--sockets", state.sockets, ...args], { env })).stdout).map(
        ({ id }) => id,
      );
    expect(await ids([], { CONTAINERD_STATE: state.state })).toEqual(["web"]);
    expect(await ids([], { CONTAINERD_ADDRESS: `${state.state}/containerd.sock` })).toEqual(["web"]);
    expect(await ids(["--address", `${state.state}/containerd.sock`])).toEqual(["web"]);
    expect(await ids(["--state", state.state], { CONTAINERD_NAMESPACE: "other" })).toEqual([]);
  });
});

describe("shimctl ls, with a shim that hangs", () => {
  const held: AsyncDisposable[] = [];
  afterEach(async () => {
    for (const one of held.splice(0)) await one[Symbol.asyncDispose]();
  });

  /** A state with one hung shim and one that answers. */
  async function mixed(): Promise<State> {
    const state = new State();
    const hung = await RawServer.listen(state.socket("hung"));
    const server = createServer().add(Task, {
      connect: () => ({ shimPid: process.pid }),
      state: () => ({ status: Status.RUNNING }),
    });
    held.push(hung, server);
    state.bundle("default", "a-hung", bootstrap(hung.address));
    state.bundle("default", "web", bootstrap(await server.listen(state.socket("shim"))));
    return state;
  }

  it("prints the others in a pipe without waiting for it", async () => {
    const state = await mixed();
    await using child = new Shimctl(["ls", ...state.options, "--timeout", "1h"]);
    await child.says(/web .* running/);
    expect(child.stdout).not.toContain("a-hung");
    child.kill("SIGINT");
    expect((await child.outcome()).code).toBe(130);
  });

  it.skipIf(noTerminal)(
    `shows the others on a terminal, and that it is being asked${needsTerminal}`,
    async () => {
      const state = await mixed();
      await using child = new TerminalShimctl(["ls", ...state.options, "--timeout", "1h"]);
      await child.says("asking");
      expect(child.stdout).toContain("running");
      child.type("q");
      expect((await child.outcome()).code).toBe(130);
    },
  );

  it("--watch keeps refreshing the others", async () => {
    const state = await mixed();
    await using child = new Shimctl([
      "ls",
      ...state.options,
      "--watch",
      "--json",
      "--interval",
      "20ms",
      "--timeout",
      "1h",
    ]);
    await child.printsLines(3);
    child.kill("SIGINT");
    const lines = (await child.outcome()).stdout.trimEnd().split("\n");
    for (const line of lines) {
      expect(rowsOf(line).map(({ id, state: shown }) => [id, shown])).toEqual([
        ["a-hung", "asking"],
        ["web", "running"],
      ]);
    }
  });
});

describe.skipIf(noTerminal)(`shimctl ls, on a narrow terminal${needsTerminal}`, () => {
  it("keeps within the width, with each address whole", async () => {
    const state = new State();
    const name = "s".repeat(40);
    await using server = createServer().add(Task, {
      connect: () => ({ shimPid: process.pid }),
      state: () => ({ status: Status.RUNNING }),
    });
    const address = await server.listen(state.socket(name));
    const id = "0123456789abcdef".repeat(4);
    state.bundle("default", id, bootstrap(address));
    const { stdout } = await onTerminal(["ls", ...state.options]);
    const lines = visible(stdout)
      .replaceAll(/␛\[[\d;?]*[a-zA-Z]/g, "")
      .trimEnd()
      .split("\n");
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(100);
    expect(lines.join("\n")).toContain(address);
    expect(lines[1]).toContain("0123456789a");
  });
});
