import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { isMessage } from "@bufbuild/protobuf";
import { Code, connect, createClient, createServer, TtrpcError } from "containerd-shim-protos";
import {
  createPublisher,
  listenEvents,
  TASK_EXIT_EVENT_TOPIC,
  TaskExitSchema,
} from "containerd-shim-protos/events";
import { Status, Task as TaskV2 } from "containerd-shim-protos/task/v2";
import { Task } from "containerd-shim-protos/task/v3";
import { describe, expect, it, vi } from "vitest";
import { SHIMCTL } from "../cli/shimctl.js";
import { exitEnvelope, serveSubscriptions } from "../events/subscription-server.js";
import { firstOf } from "../helpers/iterables.js";
import { type Finished, Program, run, success } from "../helpers/program.js";
import { Started } from "../helpers/started.js";
import { temporaryAddress } from "../helpers/temp.js";
import { ShimHost } from "../shim/shim.js";
import { placeOf, PROGRAMS } from "./blocks.js";
import { userProject, withOwnPaths } from "./project.js";

const ran = new Set<string>();

/** The programs of a page, in a project of their own with sockets of their own. */
class Page {
  readonly folder: string;
  readonly own = withOwnPaths();
  readonly #page: string;

  constructor(page: string) {
    this.#page = page;
    const programs = PROGRAMS.filter((program) => program.page === page);
    this.folder = userProject(
      Object.fromEntries(programs.map(({ name, prelude, code }) => [name, this.own(prelude + code)])),
    );
  }

  #noted(name: string): string {
    for (const block of PROGRAMS)
      if (block.page === this.#page && block.name === name) ran.add(placeOf(block));
    return name;
  }

  /** The path of a program, for the caller to run. */
  file(name: string): string {
    return join(this.folder, this.#noted(name));
  }

  start(name: string, args: readonly string[] = []): Program {
    return new Program(this.#noted(name), args, { cwd: this.folder });
  }

  run(name: string, args: readonly string[] = []) {
    return run(this.#noted(name), args, { cwd: this.folder });
  }
}

async function shimctl(...args: string[]): Promise<Finished> {
  await using child = new Started(process.execPath, [SHIMCTL, ...args]);
  const status = await child.ended();
  return { status, output: child.output, errors: child.errors };
}

describe("the programs of the documentation", () => {
  it("of the README are a server and a client, in plain JavaScript", async () => {
    const page = new Page("README.md");
    await using hello = new Started(process.execPath, [page.file("hello.mjs")], { cwd: page.folder });
    expect(await hello.ended()).toBe(0);
    expect(hello.output).toBe("web is RUNNING\n");
    expect(hello.errors).toBe("");
  });

  it("of the first client distinguish a container's state, a missing container and a missing shim", async () => {
    const page = new Page("docs/first-client.md");
    await using server = createServer().add(TaskV2, {
      connect: () => ({}),
      state({ id }) {
        if (id !== "web") throw new TtrpcError(`no container ${id}`, Code.NotFound);
        return { id, pid: 7, status: Status.STOPPED, exitStatus: 137 };
      },
    });
    const address = await server.listen(temporaryAddress());
    expect(await page.run("state.ts", [address, "web"])).toEqual(
      success("web is STOPPED, pid 7, exit status 137\n"),
    );
    const gone = await page.run("state.ts", [address, "gone"]);
    expect(gone).toEqual({
      status: 4,
      output: "NotFound: containerd.task.v2.Task/State: no container gone\n",
      errors: "",
    });
    const { status, errors } = await page.run("state.ts", [temporaryAddress(), "web"]);
    expect(status).toBe(1);
    expect(errors).toContain("ENOENT");
    const blocking = await page.run("blocking.ts", [address, "web"]);
    expect(blocking).toEqual(success("pid 7; 0 bytes\n"));
  });

  it("of the first server answer shimctl as the page says", async () => {
    const page = new Page("docs/first-server.md");
    const address = page.own("/tmp/first.sock");
    await using server = page.start("server.ts");
    await server.printed(`listening on unix://${address}\n`);
    const call = (method: string, id: string, ...more: string[]) =>
      shimctl("call", address, `v3.Task/${method}`, JSON.stringify({ id }), ...more);

    expect(await call("State", "web")).toEqual(success('{"id":"web","pid":4242,"status":"RUNNING"}\n'));
    const gone = await call("State", "gone");
    expect(gone.errors).toContain("NotFound (5): no container gone\n");
    expect(gone.errors).toContain('"execId":"gone"');
    expect((await call("Wait", "web", "--timeout", "200ms")).errors).toContain("DeadlineExceeded");
    expect((await call("Pids", "web")).errors).toContain("Unimplemented");
    expect(server.output).toContain(`uid ${process.getuid?.()} waits for web\n`);

    server.signal("SIGTERM");
    expect(await server.ended()).toBe(0);
    expect(server.errors).toBe("");
  });

  it("of streaming make calls of all four kinds", async () => {
    const page = new Page("docs/streaming.md");
    await using server = page.start("server.ts");
    await server.printed("listening\n");
    const words = ["3", "half", "a", "league", "half a league", "HALF", "A", ""];
    expect(await page.run("client.ts")).toEqual(success(words.join("\n")));
    server.signal("SIGTERM");
    expect(await server.ended()).toBe(0);
    expect(server.errors).toBe("");
  });

  it("of OpenTelemetry make the server's span a child of the client's", async () => {
    const traced = await new Page("docs/otel.md").run("traced.ts");
    expect(traced).toEqual(success("containerd.task.v3.Task/Connect true\n"));
  });

  it("of the guide to interceptors authenticate, log and retry", async () => {
    const { status, output, errors } = await new Page("docs/interceptors.md").run("interceptors.ts");
    expect({ status, errors }).toEqual({ status: 0, errors: "" });
    expect(output.trim().split("\n")).toEqual([
      '{"method":"State","user":"alice","code":"Unavailable"}',
      '{"method":"State","user":"alice","code":"Unavailable"}',
      '{"method":"State","user":"alice","code":"OK"}',
      "/bundles/alice",
      '{"method":"State","user":"nobody","code":"Unauthenticated"}',
      "containerd.task.v3.Task/State: the token is not known",
    ]);
  });

  it("of the page on testing pass", async () => {
    const page = new Page("docs/testing.md");
    expect(await page.run("in-process.ts")).toEqual(success("passed\n"));
    expect(await page.run("fake-peer.ts")).toEqual(success("passed\n"));
  });

  it("of the page on forwarding calls hands metadata, deadlines and errors on", async () => {
    const page = new Page("docs/forwarding.md");
    const seen: unknown[] = [];
    await using behind = createServer().add(Task, {
      state({ id }, { metadata, timeoutMs }) {
        seen.push(metadata, timeoutMs !== undefined);
        throw new TtrpcError(`no container ${id}`, Code.NotFound);
      },
    });
    await behind.listen(`unix://${page.own("/tmp/behind.sock")}`);
    await using forwarding = page.start("forward.ts");
    await forwarding.printed("forwarding\n");
    await using connection = await connect(`unix://${page.own("/tmp/before.sock")}`);
    const call = createClient(Task, connection).state(
      { id: "web" },
      { timeoutMs: 5000, metadata: { a: "b" } },
    );
    await expect(call).rejects.toMatchObject({ code: Code.NotFound, rawMessage: "no container web" });
    expect(seen).toEqual([{ a: ["b"] }, true]);
    forwarding.signal("SIGTERM");
    expect(await forwarding.ended()).toBe(0);
  });

  it("of the guide to events receive, publish and forward them", async () => {
    const [SHIMS, CONTAINERD] = ["/run/my-events.sock", "/run/containerd/containerd.sock.ttrpc"];
    const publish = async (address: string, containerId: string) => {
      await using publisher = createPublisher(address, { namespace: "default" });
      await publisher.publish(TASK_EXIT_EVENT_TOPIC, TaskExitSchema, { containerId, exitStatus: 3 });
    };
    const taking = new Page("docs/events.md");
    {
      await using listening = taking.start("listen.ts");
      const delivered = publish(taking.own(SHIMS), "web");
      await listening.printed("web 3 ");
      await delivered;
    }
    const passing = new Page("docs/events.md");
    await using containerd = listenEvents(passing.own(CONTAINERD));
    const publishing = passing.run("publish.ts");
    const { first, rest } = await firstOf(containerd);
    expect(isMessage(first.message, TaskExitSchema) && first.message.containerId).toBe("web");
    const second = rest.next();
    expect(await publishing).toEqual(success(""));
    await using forwarding = passing.start("forward.ts");
    const delivered = publish(passing.own(SHIMS), "db");
    await forwarding.printed("/tasks/exit containerd.events.TaskExit\n");
    await delivered;
    expect(await second).toMatchObject({ value: { namespace: "default", topic: "/tasks/exit" } });
  });

  it("of the guide to events subscribe to containerd", async () => {
    const page = new Page("docs/events.md");
    const address = `unix://${page.own("/run/containerd/containerd.sock")}`;
    const server = await serveSubscriptions(address, (call) => call.write(exitEnvelope(3)));
    await using subscribing = page.start("subscribe.ts");
    await subscribing.printed("/tasks/exit {");
    server.forceShutdown();
    await vi.waitFor(() => expect(subscribing.errors).toContain("a gap since"), 10_000);
  });

  it("of the guide to shims are a shim, which runs a program and reports its exit", async () => {
    const page = new Page("docs/shim.md");
    const program = ["--import", import.meta.resolve("tsx"), page.file("main.ts")];
    page.file("service.ts");
    using host = new ShimHost({ program });
    const config = { process: { args: ["/bin/sh", "-c", "exit 7"], cwd: "/" } };
    writeFileSync(join(host.bundle, "config.json"), JSON.stringify(config));
    await using connection = await connect(await host.address());
    const task = createClient(Task, connection);
    await task.create({ id: host.id, bundle: host.bundle });
    const { pid } = await task.start({ id: host.id });
    expect(pid).toBeGreaterThan(1);
    expect(await task.wait({ id: host.id })).toMatchObject({ exitStatus: 7 });
    await task.shutdown({ id: host.id });
  });

  it("have all been run above", () => {
    expect(PROGRAMS.map(placeOf).filter((place) => !ran.has(place))).toEqual([]);
  });
});
