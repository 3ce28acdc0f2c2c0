import { chmodSync } from "node:fs";
import { dirname } from "node:path";
import type { Server } from "@grpc/grpc-js";
import { subscribeEvents } from "containerd-shim-protos/events";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { pathOf, temporaryAddress } from "../helpers/temp.js";
import { exitEnvelope, serveSubscriptions } from "./subscription-server.js";

const isRoot = process.geteuid?.() === 0;
const address = temporaryAddress();
let server: Server;

beforeEach(async () => {
  server = await serveSubscriptions(address, (call) => call.write(exitEnvelope(7)));
  setMode(0);
  // Root may open anything.
  if (isRoot) process.seteuid?.(65_534);
});

afterEach(() => {
  if (isRoot) process.seteuid?.(0);
  server.forceShutdown();
});

/** Sets the mode of the socket. */
function setMode(mode: number): void {
  const user = process.geteuid?.() ?? 0;
  if (isRoot) process.seteuid?.(0);
  chmodSync(dirname(pathOf(address)), 0o711);
  chmodSync(pathOf(address), mode);
  if (isRoot) process.seteuid?.(user);
}

describe("a subscription to a socket that this process may not open", () => {
  test("begins if the socket is given to its group a moment later, as containerd does when it starts", async () => {
    const codes: unknown[] = [];
    await using events = subscribeEvents(address, {
      onGap({ error }) {
        codes.push((error?.cause as NodeJS.ErrnoException | undefined)?.code);
        setMode(0o666);
      },
    });
    for await (const { topic } of events) {
      expect(topic).toBe("/tasks/exit");
      break;
    }
    expect(codes).toEqual(["EACCES"]);
  });

  test("ends if it stays so", async () => {
    await using events = subscribeEvents(address);
    await expect(events[Symbol.asyncIterator]().next()).rejects.toMatchObject({ cause: { code: "EACCES" } });
  });
});
