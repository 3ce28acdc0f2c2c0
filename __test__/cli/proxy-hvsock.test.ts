import type { Socket } from "node:net";
import { createServer } from "containerd-shim-protos";
import { Task } from "containerd-shim-protos/task/v3";
import { describe, expect, it } from "vitest";
import { Hypervisor, opener } from "../helpers/hypervisor.js";
import { temporaryAddress } from "../helpers/temp.js";
import { proxyTo, shown } from "./proxied.js";
import { shimctl } from "./shimctl.js";

const task = "containerd.task.v3.Task";

describe("shimctl proxy, in front of a guest's port behind its hypervisor's socket", () => {
  it.each([false, true])("passes calls on and prints them (answered byte by byte: %s)", async (slowly) => {
    const server = createServer().add(Task, { connect: () => ({ shimPid: 42 }) });
    const guest = await server.listen(temporaryAddress());
    await using hypervisor = await new Hypervisor(opener(guest, "OK 5\n", slowly)).listen();
    await using proxy = await proxyTo(hypervisor.address(1024), "--json");
    const { code, stdout } = await shimctl(["call", proxy.address, `${task}/Connect`, '{"id":"web"}']);
    expect({ code, shown: JSON.parse(stdout) as unknown }).toEqual({ code: 0, shown: { shimPid: 42 } });
    await proxy.says('"event":"close"');
    proxy.kill("SIGINT");
    const events = shown((await proxy.outcome()).stdout);
    expect(events.map(({ event, type }) => type ?? event)).toEqual(["open", "request", "response", "close"]);
    expect(new Set(hypervisor.asked)).toEqual(new Set(["CONNECT 1024\n"]));
    await server.close();
  });

  it("loses no byte that comes with the hypervisor's answer", async () => {
    await using hypervisor = await new Hypervisor((socket) =>
      socket.write("OK 5\nHTTP/1.1 400 Bad Request\r\n\r\n"),
    ).listen();
    await using proxy = await proxyTo(hypervisor.address(1));
    const { code, stderr } = await shimctl(["call", proxy.address, `${task}/Connect`]);
    expect({ code, stderr }).toEqual({ code: 3, stderr: expect.stringContaining("HTTP/1.1 4") as string });
  });

  it.each([
    ["hangs up", (socket: Socket) => socket.end(), "it hung up"],
    ["answers something else", (socket: Socket) => socket.write("NO\x1b[31m\x9b port\n"), "it answered NO"],
    ["never ends its line", (socket: Socket) => socket.write("OK ".repeat(100)), "it answered OK OK"],
  ])("fails as refused if the hypervisor %s", async (_, open, said) => {
    await using hypervisor = await new Hypervisor((socket) => void open(socket)).listen();
    const address = hypervisor.address(9);
    const { code, stdout, stderr } = await shimctl(["proxy", temporaryAddress(), address]);
    expect({ code, stdout }).toEqual({ code: 3, stdout: "" });
    expect(stderr).toContain(`cannot connect to ${address}: ECONNREFUSED`);
    expect(stderr).toContain(`the hypervisor does not open port 9: ${said}`);
    // eslint-disable-next-line no-control-regex
    expect(stderr).not.toMatch(/[\x1b\x9b]/);
  });

  it("says so if there is no hypervisor", async () => {
    const path = temporaryAddress().replace("unix://", "hvsock://");
    const { code, stderr } = await shimctl(["proxy", temporaryAddress(), `${path}:9`]);
    expect(code).toBe(3);
    expect(stderr).toContain(`cannot connect to ${path}:9: ENOENT`);
  });

  it("ends a connection whose port the guest has closed, says so, and keeps listening", async () => {
    let opened = 0;
    await using hypervisor = await new Hypervisor((socket) => {
      if (++opened === 1) socket.write("OK 5\n");
      else socket.end();
    }).listen();
    await using proxy = await proxyTo(hypervisor.address(9));
    for (const _ of [1, 2]) {
      expect((await shimctl(["call", proxy.address, `${task}/Connect`])).code).toBe(3);
    }
    await proxy.says(/(the hypervisor does not open port 9: it hung up[^]*){2}/);
  });
});
