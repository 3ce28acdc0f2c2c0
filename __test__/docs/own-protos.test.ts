import { once } from "node:events";
import { createServer as createSocketServer, type Socket } from "node:net";
import { createServer } from "containerd-shim-protos";
import { describe, expect, it, onTestFinished } from "vitest";
import {
  Health,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../../examples/kata-agent/gen/health_pb.js";
import { run, success } from "../helpers/program.js";
import { temporaryPath } from "../helpers/temp.js";

describe("the example kata-agent", () => {
  /** A VMM. It handles a connection once it has read the line that names a port. */
  async function vmm(answer: (line: string, socket: Socket) => unknown): Promise<string> {
    const path = temporaryPath(".sock");
    const listener = createSocketServer((socket) => {
      socket.once("data", (line) => answer(line.toString(), socket));
    }).listen(path);
    await once(listener, "listening");
    onTestFinished(() => void listener.close());
    return path;
  }

  const program = "examples/kata-agent/health.ts";

  it("asks an agent behind hybrid vsock for its health", async () => {
    const path = await vmm((line, socket) => {
      expect(line).toBe("CONNECT 1024\n");
      const agent = createServer().add(Health, {
        check: () => ({ status: ServingStatus.SERVING }),
        version: () => ({ agentVersion: "3.20.0" }),
      });
      // The answer may come in two pieces.
      socket.write("OK 10");
      setImmediate(() => socket.write("73\n", () => void agent.listen(socket)));
    });
    expect(await run(program, [path])).toEqual(success("the agent, version 3.20.0, is SERVING\n"));
  });

  it.each([
    ["nothing", (_: string, socket: Socket) => socket.end(), "hung up"],
    ["a refusal", (_: string, socket: Socket) => socket.end("NO\n"), String.raw`answered NO\\n`],
  ])("says so when the VMM answers %s", async (_, answer, shown) => {
    const { status, errors } = await run(program, [await vmm(answer)]);
    expect(status).toBe(1);
    expect(errors).toMatch(new RegExp(`ECONNREFUSED, the hypervisor does not open port 1024: it ${shown}`));
  });

  it("fails with ENOENT if there is no VM", async () => {
    const { status, errors } = await run(program, [temporaryPath(".sock")]);
    expect(status).toBe(1);
    expect(errors).toContain("ENOENT");
  });
});
